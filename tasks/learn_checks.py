"""The gate of a learner on video: pure functions of figures. What is missing or not finite is a failed check."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class LearnCheck:
    """One answer: the learner's figure and what it is held against; None where there is none."""

    name: str
    passed: bool
    value: float | None
    baseline: float | None
    reason: str


def number(tree: object, *keys: str) -> float | None:
    """The finite number under `keys` of nested mappings, else None."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    if isinstance(tree, bool) or not isinstance(tree, int | float) or not math.isfinite(tree):
        return None
    return float(tree)


def held_against(
    name: str, value: float | None, baseline: float | None, *, margin: float = 0.0, lower_is_better: bool = False
) -> LearnCheck:
    """`value` is no worse than `baseline` by more than `margin`; with a margin of 0 it must be better."""
    if value is None or baseline is None:
        return LearnCheck(name, False, value, baseline, f"{name} is missing or not finite on one side")
    gain = baseline - value if lower_is_better else value - baseline
    passed = gain > 0 if margin == 0 else gain >= -margin
    rule = "must be better" if margin == 0 else f"may be worse by {margin:g} at most"
    return LearnCheck(name, passed, value, baseline, f"{name} is {value:.4g} against {baseline:.4g}; it {rule}")


def failed(name: str, reason: str) -> LearnCheck:
    """A check that could not even be held."""
    return LearnCheck(name, False, None, None, reason)


def check_vectors(vectors: NDArray[np.float32] | None, *, dim: int) -> list[LearnCheck]:
    """The vectors `[n, dim]` of held-out items are there, finite, of unit length and as long as before."""
    if vectors is None or vectors.ndim != 2 or not len(vectors):
        return [failed(name, "There are no vectors to look at") for name in ("dimension", "finite", "unit length")]
    finite = bool(np.isfinite(vectors).all())
    off = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max()) if finite else None
    long = off is not None and off <= UNIT_TOLERANCE
    length = "they are not finite" if off is None else f"the furthest off is {off:.2g}"
    return [
        LearnCheck(
            "dimension",
            vectors.shape[1] == dim,
            float(vectors.shape[1]),
            float(dim),
            f"Vectors have {vectors.shape[1]} numbers; before it was {dim}",
        ),
        LearnCheck("finite", finite, None, None, f"All vectors must be finite; {_count(vectors)} are not"),
        LearnCheck("unit length", long, off, UNIT_TOLERANCE, f"Vectors must have length 1; {length}"),
    ]


def _count(vectors: NDArray[np.float32]) -> int:
    return int((~np.isfinite(vectors)).any(axis=1).sum())


def verdict(checks: Sequence[LearnCheck]) -> dict[str, Any]:
    """`passed`, and `checks` as plain mappings. No check is no pass."""
    return {"passed": bool(checks) and all(check.passed for check in checks), "checks": [asdict(one) for one in checks]}


def judge_tuned(
    tuned: object, pretrained: object, *, vectors: NDArray[np.float32] | None, dim: int, margin: float
) -> dict[str, Any]:
    """The verdict on a tuned encoder. Raises nothing, whatever the figures hold.

    Args:
        tuned, pretrained: `macro_f1` and `accuracy` of the same held-out texts, each with a head of its own.
        vectors: of those texts, by the tuned encoder.
        dim: of the pretrained encoder.
        margin: largest loss of either figure.
    """
    compared = [
        held_against(name, number(tuned, name), number(pretrained, name), margin=max(margin, 1e-12))
        for name in ("macro_f1", "accuracy")
    ]
    same = number(tuned, "texts") == number(pretrained, "texts") is not None
    told = f"Both were judged by {number(tuned, 'texts')} texts" if same else "They were not judged by as many texts"
    texts = LearnCheck("same texts", same, number(tuned, "texts"), number(pretrained, "texts"), told)
    return verdict([texts, *compared, *check_vectors(vectors, dim=dim)])


def judge_partners(
    tuned: object,
    encoder: object,
    pretrained: object,
    *,
    vectors: NDArray[np.float32] | None,
    dim: int,
    margin: float,
) -> dict[str, Any]:
    """The verdict on an encoder tuned on what is watched together. Raises nothing, whatever the figures hold.

    Args:
        tuned: `recall_at_10` and `mrr` of held-out pairs by the tuned encoder under its head.
        encoder: the like by its vectors alone, which is how others will compare them.
        pretrained: the like by the vectors of the encoder as it came.
        vectors: of the held-out videos, by the tuned encoder.
        dim: of the pretrained encoder.
        margin: largest loss of any figure.
    """
    compared = [
        held_against(f"{prefix}{name}", number(side, name), number(pretrained, name), margin=max(margin, 1e-12))
        for prefix, side in (("", tuned), ("encoder ", encoder))
        for name in ("recall_at_10", "mrr")
    ]
    counts = [number(side, "pairs") for side in (tuned, encoder, pretrained)]
    same = len(set(counts)) == 1 and bool(counts[0])
    told = f"All were judged by {counts[0]:g} pairs" if same else "They were not judged by the same pairs"
    pairs = LearnCheck("same pairs", same, counts[0], counts[2], told)
    return verdict([pairs, *compared, *check_vectors(vectors, dim=dim)])


def judge_next_frames(figures: object, interval: tuple[float, float] | None) -> dict[str, Any]:
    """The verdict on a model of frame sequences: better than copying, and its gain in squared error beyond chance.

    Args:
        figures: `NextFrames.figures`.
        interval: of the difference in `mse`, model less copy.
    """

    def of(name: str, *, margin: float = 0.0, lower: bool = False) -> LearnCheck:
        ours, theirs = (number(figures, side, name) for side in ("model", "copy-last"))
        return held_against(name, ours, theirs, margin=margin, lower_is_better=lower)

    beyond = interval is not None and all(map(math.isfinite, interval)) and interval[1] < 0
    told = "there is none" if interval is None else f"it is {interval[0]:+.4f} to {interval[1]:+.4f}"
    sure = LearnCheck(
        "mse interval",
        beyond,
        None if interval is None else interval[1],
        0.0,
        f"The interval of the difference in mse must lie below 0; {told}",
    )
    return verdict([of("mse", lower=True), sure, of("cosine"), of("perplexity", lower=True)])


def judge_views(figures: object) -> dict[str, Any]:
    """The verdict on an alignment: a crop finds its segment more often than by the features as they come."""
    checks = []
    for kind in ("crop", "crop and speed"):
        for name in ("recall_at_1", "mrr"):
            ours, theirs = (number(figures, kind, side, name) for side in ("model", "features"))
            checks.append(held_against(f"{kind} {name}", ours, theirs))
    speed = (number(figures, "speed", side, "mrr") for side in ("model", "features"))
    return verdict([*checks, held_against("speed mrr", *speed, margin=0.05)])
