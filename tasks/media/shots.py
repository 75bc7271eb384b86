"""Shots of a video, and which of its moments to keep, from colour histograms of sampled thumbnails."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 8
WINDOW = 4  # samples on either side that a cut is held against
RATIO = 3.0
FLOOR = 0.2


def colour_histogram(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Joint RGB histogram of `[height, width, 3]`: `[512]` float32 that sums to 1."""
    levels = thumbnail.reshape(-1, 3).astype(np.int64) * BINS // 256
    joint = (levels[:, 0] * BINS + levels[:, 1]) * BINS + levels[:, 2]
    return (np.bincount(joint, minlength=BINS**3) / len(joint)).astype(np.float32)


def shot_starts(histograms: NDArray[np.float32], *, at_most: int) -> NDArray[np.int64]:
    """The samples at which a shot starts, ascending, the first always 0.

    A cut is where the distance to the sample before (half the L1 distance of histograms, 0..1) is above `FLOOR` and
    above `RATIO` times the mean of its neighbourhood: the threshold adapts, so that fast motion, which changes every
    sample a little, makes no shots (PySceneDetect's AdaptiveDetector, on histograms). Of more than `at_most` shots the
    clearest cuts stay.

    Args:
        histograms: `[samples, bins]`, in order of time, at least one.
        at_most: shots, at least 1.
    """
    distances = np.abs(np.diff(histograms, axis=0)).sum(axis=1) / 2
    neighbours = np.maximum(_around(np.ones(len(distances))) - 1, 1)
    usual = (_around(distances) - distances) / neighbours
    cuts = np.flatnonzero((distances > FLOOR) & (distances > RATIO * usual))
    clearest = cuts[np.argsort(-distances[cuts], kind="stable")][: at_most - 1]
    return np.concatenate([[0], np.sort(clearest) + 1]).astype(np.int64)


def _around(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """For each of `values` the sum over itself and `WINDOW` on either side."""
    sums: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    around: NDArray[np.float64] = np.subtract(
        sums[np.minimum(at + WINDOW + 1, len(values))], sums[np.maximum(at - WINDOW, 0)]
    )
    return around


def spread(starts: NDArray[np.int64], *, samples: int, at_most: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Samples to keep, evenly inside each shot, and the shot of each.

    Every shot gets one, the rest goes by length to the shot with the most samples for each kept one.

    Args:
        starts: `[shots]`, as `shot_starts` gives them; at most `at_most`.
        samples: how many there are in all.
        at_most: how many to keep.

    Returns:
        Indices `[kept]` ascending, and their shots `[kept]`.
    """
    lengths = np.diff(np.append(starts, samples))
    shares = np.ones(len(starts), np.int64)
    for _ in range(min(at_most, samples) - len(starts)):
        shares[np.argmax(np.where(shares < lengths, lengths / shares, 0))] += 1
    kept = [
        start + ((2 * np.arange(share) + 1) * length) // (2 * share)
        for start, share, length in zip(starts, shares, lengths, strict=True)
    ]
    return np.concatenate(kept), np.repeat(np.arange(len(starts), dtype=np.int32), shares)


def representatives(histograms: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each shot the sample whose colours are nearest to the shot's mean (L1), the earliest of equals: `[shots]`."""
    chosen = []
    for start, end in zip(starts, np.append(starts[1:], len(histograms)), strict=True):
        shot = histograms[start:end]
        chosen.append(start + np.argmin(np.abs(shot - shot.mean(axis=0)).sum(axis=1)))
    return np.array(chosen, np.int64)
