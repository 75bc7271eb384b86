"""When the live release is taken back without a person: which windows break the bound, and what the other would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadInput
from lineage.windows import Window
from tasks.bootstrap import Interval, paired_bootstrap
from tasks.control_chart import Point, control_chart
from tasks.metrics import RANKING
from tasks.monitor_params import Monitor, Rollback
from tasks.params import Evaluate, Gate


@dataclass(frozen=True)
class Broken:
    """The windows in a row up to the newest that break the bound.

    Attributes:
        metric: what was looked at.
        windows: oldest first.
        references: what each was held against.
        due: whether they are as many as the rule asks for.
    """

    metric: str
    windows: list[Window]
    references: list[float]
    due: bool


def refuse_unknown_metric(rule: Rollback | None, judging: Evaluate) -> None:
    """Raise `BadInput` for a rule about a metric that the live release is not judged by."""
    known = [f"{metric}@{k}" for metric in RANKING for k in judging.ks]
    if rule and rule.metric is not None and rule.metric not in known:
        raise BadInput(
            f"monitor.rollback.metric must be one of {', '.join(known)}, by which the live release is judged. "
            f"Received: {rule.metric!r}"
        )


def broken(windows: Sequence[Window], past: Sequence[Window], params: Monitor, rule: Rollback) -> Broken:
    """Which of `windows`, those of the live release since it went live, oldest first, break `rule`.

    `past`: all windows of the recommender, these among them, which the control chart is made of.
    """
    metric = rule.metric or windows[-1].primary
    streak: list[tuple[Window, float]] = []
    centre = chart_centre(past, metric, params)
    for window in windows:
        reference = centre if rule.reference == "centre" else window.popularity[metric].mean
        if reference is not None and window.live[metric].mean < rule.below * reference:
            streak.append((window, reference))
        else:
            streak = []
    held, references = [window for window, _ in streak], [reference for _, reference in streak]
    return Broken(metric, held, references, len(streak) >= rule.windows)


def chart_centre(past: Sequence[Window], metric: str, params: Monitor) -> float | None:
    """The centre of the chart of `metric`; None while it is being learnt, or where the metric is not in all windows."""
    if any(metric not in window.live for window in past):
        return None
    points = [Point(window.live[metric].mean, window.live[metric].sd, window.viewers) for window in past]
    return control_chart(points, baseline=params.baseline_windows, sigmas=params.sigmas).centre


def compared(
    target: Sequence[NDArray[np.float64]], live: Sequence[NDArray[np.float64]], *, gate: Gate, seed: int
) -> Interval:
    """How much better the other release is than the live one, viewer by viewer, over windows of `[viewers]` each."""
    return paired_bootstrap(
        np.concatenate(list(target)),
        np.concatenate(list(live)),
        confidence=gate.confidence,
        resamples=gate.resamples,
        seed=seed,
    )


def evidence(
    found: Broken, rule: Rollback, *, live: str, target: str, means: Sequence[float], gain: Interval
) -> dict[str, Any]:
    """What goes on record: rule, windows, and what the other release would have done on them."""
    return {
        "from": live,
        "to": target,
        "rule": rule.model_dump() | {"metric": found.metric},
        "until": found.windows[-1].last,
        "windows": [window.model_dump(mode="json") for window in found.windows],
        "references": found.references,
        "target": list(means),
        "difference": {"mean": gain.mean, "low": gain.low, "high": gain.high},
    }


def reason(found: Broken, rule: Rollback, gain: Interval) -> str:
    """One sentence for the ledger."""
    figures = ", ".join(
        f"{window.live[found.metric].mean:.4f} against {rule.below:g} x {reference:.4f}"
        for window, reference in zip(found.windows[-rule.windows :], found.references[-rule.windows :], strict=True)
    )
    return (
        f"{found.metric} was below {rule.below:g} of {_called(rule)} in {len(found.windows)} windows in a row, "
        f"{found.windows[0].first} to {found.windows[-1].last} ({figures}); on them the other release is better by "
        f"{gain.mean:.4f} ({gain.low:.4f} to {gain.high:.4f})"
    )


def _called(rule: Rollback) -> str:
    return "popularity" if rule.reference == "popularity" else "the chart's centre"
