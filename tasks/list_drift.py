"""How a release's lists have moved since it was trained: the same viewers, by their history then and now."""

import numpy as np
from numpy.typing import NDArray

from lineage.windows import Drift
from models.sequences import Sequences
from tasks.ranker import Lists, Ranker

BLOCK = 1024  # viewers at once


def list_drift(now: Lists, then: Lists, watched: NDArray[np.int64]) -> list[Drift]:
    """Coverage, popularity and concentration of lists then and now, of the same viewers.

    Args:
        now, then: `[viewers, k]` video indices, -1 for none.
        watched: `[videos]` how often each was watched in training.
    """
    rank = popularity_rank(watched)
    before, after = then[then >= 0], now[now >= 0]
    if not len(before) or not len(after):
        return []
    covered = [float(len(np.unique(side))) for side in (before, after)]
    popular = [float(rank[side].mean()) for side in (before, after)]
    gini = [concentration(np.bincount(side, minlength=len(watched))) for side in (before, after)]
    return [
        _drift("coverage", "loss", *covered, observed=max(1 - covered[1] / covered[0], 0.0)),
        _drift("popularity", "shift", *popular, observed=abs(popular[1] - popular[0])),
        _drift("concentration", "shift", *gini, observed=abs(gini[1] - gini[0])),
    ]


def lists_of(ranker: Ranker, histories: Sequences, k: int) -> Lists:
    """`[viewers, k]` what `ranker` lists for `histories`, in blocks."""
    at = range(0, histories.n_viewers, BLOCK)
    blocks = [histories.take(np.arange(start, min(start + BLOCK, histories.n_viewers))) for start in at]
    return np.concatenate([ranker.recommend(block, k) for block in blocks])


def popularity_rank(watched: NDArray[np.int64]) -> NDArray[np.float64]:
    """`[videos]` share of the other videos that are watched less, half of the ties counted; 0 rarest, 1 most."""
    ordered = np.sort(watched)
    below, up_to = np.searchsorted(ordered, watched, "left"), np.searchsorted(ordered, watched, "right")
    ranks: NDArray[np.float64] = (below + up_to - 1) / 2 / max(len(watched) - 1, 1)
    return ranks


def concentration(counts: NDArray[np.int64]) -> float:
    """Gini coefficient of `[videos]` counts: 0 where all are listed alike, near 1 where one video has all places."""
    n, total = len(counts), counts.sum()
    if total == 0:
        return 0.0
    ranks = np.arange(1, n + 1)
    return float((2 * (ranks * np.sort(counts)).sum() / total - (n + 1)) / n)


def _drift(what: str, statistic: str, then: float, now: float, *, observed: float) -> Drift:
    return Drift(about="lists", what=what, statistic=statistic, observed=observed, then=then, now=now)
