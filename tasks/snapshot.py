"""Data set faults: what one night's snapshot as a whole is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from tasks.drift import drifts
from tasks.params import Validate
from tasks.quarantine import UNKNOWN_VIDEO, Separated
from tasks.schema import Events

TOO_FEW = "too few rows to tell"


@dataclass(frozen=True)
class Check:
    """One figure of a snapshot and the bounds it must keep.

    Attributes:
        name: what is measured.
        observed: the figure, or None where it cannot be told; then the check is skipped.
        low, high: bounds, inclusive; None is no bound.
        reason: what the figure means, or why the check is skipped.
    """

    name: str
    observed: float | None
    low: float | None
    high: float | None
    reason: str

    @property
    def bound(self) -> str:
        """The bounds in words."""
        if self.low is None:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


def table_checks(separated: Mapping[str, Separated], params: Validate) -> list[Check]:
    """Rows left and share in quarantine of each table, and the share of events whose video is unknown."""
    checks = []
    for name, table in separated.items():
        accepted, faulty = table.accepted.height, table.quarantined.height
        share = faulty / max(accepted + faulty, 1)
        meaning = f"share of the rows of {name} in quarantine"
        checks.append(Check(f"quarantined_{name}", share, None, params.max_quarantined, meaning))
        checks.append(Check(f"accepted_{name}", accepted, 1, None, f"rows of {name} that are fit for use"))
    events = separated["events"]
    if UNKNOWN_VIDEO in events.faults:
        share = events.faults[UNKNOWN_VIDEO] / max(events.accepted.height + events.quarantined.height, 1)
        meaning = "share of events whose video is not in the catalogue"
        checks.insert(0, Check("unknown_videos", share, None, params.max_unknown_videos, meaning))
    return checks


def event_checks(events: pl.DataFrame, *, as_of: date, params: Validate) -> list[Check]:
    """Freshness, volume and drift of accepted `events`, of which there is at least one."""
    by_day = events.group_by(Events.DAY).len().sort(Events.DAY)
    newest: date = by_day[Events.DAY][-1]
    trailing = by_day.filter(
        pl.col(Events.DAY).is_between(newest - timedelta(days=params.trailing_days), newest, closed="left")
    )
    age = Check("age_days", (as_of - newest).days, None, params.max_age_days, f"days from the newest event to {as_of}")
    median = trailing["len"].median()
    comparable = trailing.height >= 2 and isinstance(median, float) and median >= params.min_day_rows
    rows = int(by_day["len"][-1])
    volume = rows / median if comparable and isinstance(median, float) else None
    meaning = f"rows of {newest} to the median of the {trailing.height} days with events before it"
    low = params.min_volume_ratio
    checks = [age, Check("volume_ratio", volume, low, params.max_volume_ratio, TOO_FEW if volume is None else meaning)]
    return checks + _drift_checks(events, newest, comparable=comparable and rows >= params.min_day_rows, params=params)


def _drift_checks(events: pl.DataFrame, newest: date, *, comparable: bool, params: Validate) -> list[Check]:
    if not comparable:
        return [Check("drift", None, None, params.max_drift, TOO_FEW)]
    recent = events.filter(pl.col(Events.DAY) >= newest - timedelta(days=params.trailing_days))
    today = recent[Events.DAY] == newest
    meaning = f"stability index (PSI) of {newest} to the days before it"
    return [
        Check(f"drift_{what}", index, None, params.max_drift, f"{what}: {meaning}")
        for what, index in drifts(recent.filter(today), recent.filter(~today)).items()
    ]
