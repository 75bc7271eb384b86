"""What a refreshed generation of embedded videos must hold before anything goes live."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.embedded import Embedded
from models.modality import Table
from models.ranking import top_k
from models.search import Index, recall
from models.sequences import Sequences
from tasks.params import Refresh


@dataclass(frozen=True)
class Generation:
    """Two generations of one model's table, and the new one's index.

    Attributes:
        old: `[videos before, dim]` the live table.
        new: `[videos, dim]`, the old videos first.
        covered: share of the catalogue with at least one modality.
        index: over `new`, as it was loaded.
        model: with the new table.
        histories: `[viewers]` of the live release.
    """

    old: Table
    new: Table
    covered: float
    index: Index
    model: Embedded
    histories: Sequences


def refresh_checks(generation: Generation, *, params: Refresh, seed: int) -> list[dict[str, Any]]:
    """Each check as `name`, `passed`, `observed`, `bound`, `reason`; a figure that is no number fails."""
    old, new = generation.old, generation.new
    facts, draw = generation.index.facts, np.random.default_rng(seed)
    finite = float(np.isfinite(new).all(axis=1).mean())
    low, high = _norms(old)
    norms = np.linalg.norm(new, axis=1)
    # an absent vector is counted by coverage
    outside = float(((norms > 0) & ((norms < low / 2) | (norms > high * 2))).mean())
    size = min(params.sample, len(old))
    sample = np.sort(draw.choice(len(old), size, replace=False))
    return [
        _equal("dimension", facts.dim, old.shape[1], "of the index and of the live table"),
        _equal("space", facts.space, generation.model.space, "embedding space of index and towers"),
        _equal("videos", facts.videos, len(new), "in the index and in the table"),
        _at_least("finite", finite, 1.0, "share of videos whose vector has no NaN or infinity"),
        _at_most("norms", outside, 0.0, f"share of vectors twice as long or half as short as {low:.3g} to {high:.3g}"),
        _at_most(
            "moved",
            _moved(old, new[: len(old)], sample, params.neighbours),
            params.max_moved,
            f"share of old videos of which fewer than half of the {params.neighbours} nearest are the same",
        ),
        _at_least("coverage", generation.covered, params.min_coverage, "share of the catalogue with any content"),
        _at_least("recall", _recall(generation, draw, params), params.min_recall, "of the index to exact search"),
    ]


def _norms(old: Table) -> tuple[float, float]:
    """Shortest and longest vector of the live table, absent ones apart."""
    norms = np.linalg.norm(old, axis=1)
    norms = norms[norms > 0]
    return (float(norms.min()), float(norms.max())) if len(norms) else (0.0, math.inf)


def _moved(old: Table, new: Table, sample: NDArray[np.int64], k: int) -> float:
    """Share of `sample` whose nearest `k` among the old videos are for more than half others now."""
    before, after = _nearest(old, sample, k), _nearest(new, sample, k)
    same = (before[:, :, None] == after[:, None, :]).any(axis=2).sum(axis=1)
    return float((same < before.shape[1] / 2).mean())


def _nearest(table: Table, sample: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    """`[sample, k]` videos of the largest dot product, each video itself left out."""
    itself = Sequences(
        np.arange(len(sample) + 1),
        sample.astype(np.int32),
        np.zeros(len(sample), np.int64),
        np.ones(len(sample), np.float32),
    )
    clean = np.nan_to_num(table)
    return top_k(clean[sample], clean, itself, min(k, len(table)))[0]


def _recall(generation: Generation, draw: np.random.Generator, params: Refresh) -> float:
    active = np.flatnonzero(generation.histories.lengths)
    sample = np.sort(draw.choice(active, min(params.sample, len(active)), replace=False))
    seen = generation.histories.take(sample)
    viewers = generation.model.viewer_vectors(seen)
    k = min(params.neighbours, len(generation.new))
    try:
        exact = top_k(viewers, generation.new, seen, k)
        found = generation.index.search(viewers, seen=seen, k=k)[0]
    except ValueError:
        return math.nan
    return recall(found, viewers, generation.new, exact=exact)


def _equal(name: str, observed: object, wanted: object, reason: str) -> dict[str, Any]:
    return _check(name, observed == wanted, observed, str(wanted), reason)


def _at_least(name: str, observed: float, bound: float, reason: str) -> dict[str, Any]:
    return _check(name, observed >= bound, observed, f"at least {bound:g}", reason)


def _at_most(name: str, observed: float, bound: float, reason: str) -> dict[str, Any]:
    return _check(name, observed <= bound, observed, f"at most {bound:g}", reason)


def _check(name: str, passed: bool, observed: object, bound: str, reason: str) -> dict[str, Any]:
    """NaN compares as false, so a figure that is no number has failed; JSON knows it as null."""
    told = round(observed, 6) if isinstance(observed, float) and math.isfinite(observed) else observed
    told = None if isinstance(told, float) and not math.isfinite(told) else told
    return {"name": name, "passed": bool(passed), "observed": told, "bound": bound, "reason": reason}
