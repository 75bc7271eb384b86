"""Figures of drift held against their bounds."""

from dataclasses import dataclass
from typing import Literal

from lineage.windows import Drift
from tasks.monitor_params import Monitor


@dataclass(frozen=True)
class Judged:
    """A figure, its bound and what that means.

    Attributes:
        drift: the figure.
        bound: the largest that is no drift.
        of: what gave the bound: `set` in params.yaml, `chance`, or what is `usual` between days of training.
        word: `drift` or `steady`.
    """

    drift: Drift
    bound: float
    of: Literal["set", "chance", "usual"]
    word: Literal["drift", "steady"]

    @property
    def sentence(self) -> str:
        """For a log."""
        it = self.drift
        return f"{it.about} {it.what}: {it.statistic} {it.observed:.4g}, at most {self.bound:.4g} ({self.of})"


def judge(figure: Drift, params: Monitor) -> Judged:
    """Hold a figure against the largest of the set bound, chance, and what is usual."""
    bounds = {"set": _set(figure, params), "chance": figure.noise or 0.0, "usual": figure.usual or 0.0}
    bound = max(bounds.values())
    of: Literal["set", "chance", "usual"] = "set"
    if bounds["set"] < bound:
        of = "chance" if bounds["chance"] == bound else "usual"
    return Judged(figure, bound, of, "drift" if figure.observed > bound else "steady")


def _set(figure: Drift, params: Monitor) -> float:
    return {
        ("events", "psi"): params.max_psi,
        ("events", "js"): params.max_js,
        ("events", "share"): params.max_new_videos,
        ("videos", "shift"): params.max_video_shift,
        ("lists", "loss"): params.max_coverage_loss,
        ("lists", "shift"): (
            params.max_concentration_shift if figure.what == "concentration" else params.max_popularity_shift
        ),
    }[figure.about, figure.statistic]
