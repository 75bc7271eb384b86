"""A viewer as a release knows them: interests that fade, activity, habits. Made of the positives it holds, no more."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.decay import DAY_MS, decay
from models.sequences import Sequences
from tasks.schema import Videos

HALF_LIFE_DAYS = 30.0
SESSION_GAP_MS = 30 * 60_000  # after so long a pause the next video begins a new session
INTERESTS = 10
NEWEST = 5


def viewer_profile(viewer: int, sequences: Sequences, vocabulary: pl.DataFrame, *, private: bool) -> dict[str, Any]:
    """What a person may want to know of a viewer.

    Args:
        viewer: index of the viewer.
        sequences: positives of all viewers.
        vocabulary: row `i` is video index `i`, with `category`, `tags` and `title` where there are any.
        private: leave out what was watched and when: shares and levels alone remain.

    Returns:
        `interests`: for `category` and `tags` up to ten names with their share, an event counting half after 30 days
        before the newest; `activity`, `sessions`, `feedback`; and unless `private` the `newest` videos.
    """
    own = sequences.take(np.array([viewer]))
    rows = vocabulary[own.videos.tolist()]
    fresh = decay(own.times[-1] - own.times, half_life_days=HALF_LIFE_DAYS) * own.weights
    told: dict[str, Any] = {
        "interests": {name: _shares(rows, name, fresh) for name in (Videos.CATEGORY, Videos.TAGS)},
        "activity": _activity(own.times, sequences.lengths, private=private),
        "sessions": _sessions(own.times),
        "feedback": _feedback(own.weights, sequences.weights),
    }
    return told if private else told | {"newest": _newest(own, rows)}


def _shares(rows: pl.DataFrame, column: str, fresh: NDArray[np.float64]) -> list[dict[str, Any]]:
    if column not in rows.columns:
        return []
    counted: Counter[str] = Counter()
    for value, weight in zip(rows[column].to_list(), fresh.tolist(), strict=True):
        names = value if isinstance(value, list) else [value]
        named = [name for name in names if name]
        for name in named:
            counted[name] += weight / len(named)
    total = sum(counted.values())
    best = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:INTERESTS]
    return [{"name": name, "share": round(weight / total, 4)} for name, weight in best]


def _activity(times: NDArray[np.int64], lengths: NDArray[np.int64], *, private: bool) -> dict[str, Any]:
    """How much, and how that compares: `level` is the share of viewers with fewer positives."""
    days = len(np.unique(times // DAY_MS))
    told: dict[str, Any] = {"level": round(float((lengths < len(times)).mean()), 4)}
    told["videos_a_day"] = round(len(times) / days, 2)
    if not private:
        told |= {"videos": len(times), "days": days, "first": _moment(times[0]), "last": _moment(times[-1])}
    return told


def _sessions(times: NDArray[np.int64]) -> dict[str, Any]:
    starts = np.flatnonzero(np.diff(times, prepend=times[0] - SESSION_GAP_MS - 1) > SESSION_GAP_MS)
    ends = np.append(starts[1:], len(times)) - 1
    hours = Counter((times // 3_600_000 % 24).tolist())
    usual = sorted(hours, key=lambda hour: (-hours[hour], hour))[0]
    return {
        "sessions": len(starts),
        "median_videos": float(np.median(ends - starts + 1)),
        "median_minutes": round(float(np.median(times[ends] - times[starts])) / 60_000, 1),
        "usual_hour_utc": int(usual),
    }


def _feedback(own: NDArray[np.float32], all_weights: NDArray[np.float32]) -> dict[str, Any]:
    """How strong this viewer's positives are, beside everybody's; both 1 where feedback is not graded."""
    return {"mean_weight": round(float(own.mean()), 4), "everybody": round(float(all_weights.mean()), 4)}


def _newest(own: Sequences, rows: pl.DataFrame) -> list[dict[str, Any]]:
    shown = rows.select(name for name in (Videos.ID, Videos.TITLE) if name in rows.columns)[::-1][:NEWEST].to_dicts()
    return [row | {"at": _moment(at)} for row, at in zip(shown, own.times[::-1][:NEWEST], strict=True)]


def _moment(milliseconds: np.int64) -> str:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
