"""A control chart of a mean over viewers, whose number differs by window.

Shewhart's limits of three standard errors, with the standard deviation pooled over the windows that the chart learns
from (Montgomery, Introduction to Statistical Quality Control, 6.3), widened by how much more windows differ than such
errors say: days differ, not only the viewers drawn. That factor is Laney's (Improved control charts for attributes,
Quality Engineering 2002), here never below 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEAST = 1e-12  # of a standard deviation, so that equal figures can be divided by it
MOVING_RANGE = 1.128  # mean range of two normal values, in standard deviations

Word = Literal["learning", "in control", "below", "above"]


@dataclass(frozen=True)
class Point:
    """A window: mean and standard deviation over viewers, and their number, two or more."""

    mean: float
    sd: float
    viewers: int


@dataclass(frozen=True)
class Chart:
    """What the windows are held against.

    Attributes:
        centre: mean over all viewers of the first windows; None while there are too few.
        low, high: limits of each window; None likewise.
        words: of each window: `learning` for those that the centre is made of.
    """

    centre: float | None
    low: list[float | None]
    high: list[float | None]
    words: list[Word]


def control_chart(points: Sequence[Point], *, baseline: int, sigmas: float) -> Chart:
    """The chart of `points`, oldest first, the first `baseline` of which set centre and spread."""
    if len(points) < baseline:
        nothing: list[float | None] = [None] * len(points)
        return Chart(None, nothing, nothing, ["learning"] * len(points))
    first = points[:baseline]
    centre = float(np.average([point.mean for point in first], weights=[point.viewers for point in first]))
    freedom = [point.viewers - 1 for point in first]
    sd = max(math.sqrt(np.average([point.sd**2 for point in first], weights=freedom)), LEAST)
    z = np.array([(point.mean - centre) / sd * math.sqrt(point.viewers) for point in first])
    spread = max(1.0, float(np.abs(np.diff(z)).mean()) / MOVING_RANGE)
    reach = [sigmas * spread * sd / math.sqrt(point.viewers) for point in points]
    words: list[Word] = [
        "learning" if at < baseline else _word(point.mean - centre, far)
        for at, (point, far) in enumerate(zip(points, reach, strict=True))
    ]
    return Chart(centre, [centre - far for far in reach], [centre + far for far in reach], words)


def _word(off: float, far: float) -> Word:
    if off < -far:
        return "below"
    return "above" if off > far else "in control"
