"""Whether new videos show and say other things than those that a model was trained on, by their content vectors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lineage.windows import Drift

PERMUTATIONS = 199
FEWEST = 5  # new videos from which on there is something to tell

Table = NDArray[np.float32]


def video_drift(
    tables: Mapping[str, Table], trained: NDArray[np.bool_], new: NDArray[np.bool_], *, significance: float, seed: int
) -> list[Drift]:
    """One figure for each modality that both sides have.

    Args:
        tables: by modality `[videos, dim]`, NaN in the rows of videos that lack it.
        trained, new: `[videos]` masks that have no video in common.
        significance: of the permutation test.
        seed: of the permutations.
    """
    found = []
    for modality, table in tables.items():
        there = ~np.isnan(table[:, 0])
        old, fresh = table[trained & there], table[new & there]
        if len(fresh) >= FEWEST and len(old) >= FEWEST:
            noise = chance_shift(old, fresh, significance=significance, seed=seed)
            shift = mean_shift(old, fresh)
            found.append(Drift(about="videos", what=modality, statistic="shift", observed=shift, noise=noise))
    return found


def mean_shift(old: Table, new: Table) -> float:
    """1 - cosine between the mean directions of `old` and `new` `[videos, dim]`: 0 the same, 2 opposite."""
    return _shift(_unit(old).mean(axis=0), _unit(new).mean(axis=0))


def chance_shift(old: Table, new: Table, *, significance: float, seed: int) -> float:
    """The shift that videos dealt at random to two sides of these sizes exceed with probability `significance`.

    A permutation test: where both sides are of one distribution, every deal is as likely.
    """
    pooled = _unit(np.concatenate([old, new]))
    draw, total = np.random.default_rng(seed), pooled.sum(axis=0)
    shifts = []
    for _ in range(PERMUTATIONS):
        side = pooled[draw.choice(len(pooled), len(new), replace=False)].sum(axis=0)
        shifts.append(_shift(total - side, side))
    return float(np.quantile(shifts, 1 - significance, method="higher"))


def _unit(table: Table) -> NDArray[np.float64]:
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    directions: NDArray[np.float64] = np.divide(table, lengths, out=np.zeros(table.shape), where=lengths > 0)
    return directions


def _shift(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 - float(one @ other) / lengths if lengths > 0 else 0.0
