"""Paired bootstrap: how far a mean difference between two models on the same viewers could be chance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A mean difference per viewer and the two ends of its percentile interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], *, confidence: float, resamples: int, seed: int
) -> Interval:
    """Resample viewers with replacement and take the mean of `ours - theirs` in each resample (Efron 1979).

    Args:
        ours: `[viewers]` one figure a viewer.
        theirs: `[viewers]` the other side's figures of the same viewers, in the same order.
        confidence: of the two-sided percentile interval: 0.95 cuts 2.5 % off each end.
        resamples: number of resamples.
        seed: of the draws; the same seed and figures give the same interval.

    Raises:
        ValueError: the viewers are none or not the same number, or a figure is not finite.
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or len(ours) == 0:
        raise ValueError(f"Both sides need the same viewers, one or more. Received: {ours.shape} and {theirs.shape}")
    difference = ours - theirs
    if not np.isfinite(difference).all():
        raise ValueError(f"Every figure must be finite. Received: {int((~np.isfinite(difference)).sum())} that are not")
    means = _resampled_means(difference, resamples=resamples, seed=seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(mean=float(difference.mean()), low=float(low), high=float(high))


def _resampled_means(difference: NDArray[np.float64], *, resamples: int, seed: int) -> NDArray[np.float64]:
    """`[resamples]` means, drawn in blocks of `DRAWS_AT_ONCE` viewers so that memory is bounded."""
    rng = np.random.default_rng(seed)
    n = len(difference)
    at_once = max(DRAWS_AT_ONCE // n, 1)
    means = np.empty(resamples)
    for start in range(0, resamples, at_once):
        stop = min(start + at_once, resamples)
        drawn = rng.integers(0, n, size=(stop - start, n), dtype=np.int32)
        means[start:stop] = difference[drawn].mean(axis=1)
    return means
