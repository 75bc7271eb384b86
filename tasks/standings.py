"""The candidates of a run side by side: quality with confidence intervals, what each cost, and which is chosen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks import paths
from tasks.bootstrap import paired_bootstrap
from tasks.index import challenger
from tasks.params import Params
from tasks.pareto import pareto_front
from tasks.stage import read_json

# What is weighed against quality; energy goes with seconds, and a model's size with memory.
FRONT = ("seconds", "peak_megabytes", "milliseconds")


def standings(run: Path, params: Params, *, failed: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a candidate of the run in the checkout `run`, best first, those that `failed` last with their reason.

    Figures, the primary metric's interval, costs (seconds, memory, an estimate of energy, milliseconds, size), whether
    no other is as good and as cheap in seconds, memory and milliseconds (`front`), and which is the `challenger`.
    """
    rows = [_row(run, candidate, params) for candidate in params.every_candidate if candidate not in failed]
    _mark(rows, params)
    left_behind = [{"candidate": name, "failed": reason} for name, reason in failed.items()]
    return sorted(rows, key=lambda row: -row[params.evaluate.primary]) + left_behind


def _row(run: Path, candidate: str, params: Params) -> dict[str, Any]:
    judged = read_json(run / paths.EVALUATE_METRICS / f"{candidate}.json")
    trained = read_json(run / paths.TRAIN_METRICS / f"{candidate}.json")
    viewers = pl.read_parquet(run / paths.EVALUATION / candidate / "viewers.parquet")
    figures = viewers.get_column(params.evaluate.primary).to_numpy().astype(np.float64)
    interval = paired_bootstrap(
        figures,
        np.zeros_like(figures),
        confidence=params.gate.confidence,
        resamples=params.gate.resamples,
        seed=params.seed,
    )
    return {
        "candidate": candidate,
        "primary": params.evaluate.primary,
        **judged["metrics"],
        "low": interval.low,
        "high": interval.high,
        "confidence": params.gate.confidence,
        "viewers": judged["viewers"],
        "seconds": trained["seconds"],
        "peak_megabytes": trained["peak_megabytes"],
        "joules": trained["cpu_seconds"] * params.evaluate.watts_per_core,
        "milliseconds": judged["milliseconds"],
        "megabytes": judged["megabytes"],
        "split_digest": judged["split_digest"],
    }


def _mark(rows: list[dict[str, Any]], params: Params) -> None:
    """Say of each of `rows` whether it is on the Pareto front, and whether it is the challenger."""
    if not rows:
        return
    primary = params.evaluate.primary
    chosen = challenger({row["candidate"]: row[primary] for row in rows}, params.evaluate)
    quality = np.array([row[primary] for row in rows], np.float64)
    front = pareto_front(quality, np.array([[row[cost] for cost in FRONT] for row in rows], np.float64))
    for row, is_on in zip(rows, front.tolist(), strict=True):
        row |= {"front": is_on, "challenger": row["candidate"] == chosen}
