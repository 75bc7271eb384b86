"""The candidates side by side: quality with confidence intervals, and what each costs."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flows.night import measure
from flows.outcome import Request
from infra.settings import Settings
from tasks import paths
from tasks.bootstrap import paired_bootstrap
from tasks.params import Params, load_params
from tasks.stage import read_json


def leaderboard(request: Request) -> list[dict[str, Any]]:
    """One row a candidate, best first: figures, the primary metric's interval, seconds, memory, milliseconds, size."""
    outcome = measure(request)
    run = Settings().home_dir / "runs" / str(outcome.run) / "checkout"
    params = load_params(run / "params.yaml")
    out = outcome.failed_candidates
    rows = [_row(run, candidate, params) for candidate in params.every_candidate if candidate not in out]
    failed = [{"candidate": name, "failed": reason} for name, reason in out.items()]
    return sorted(rows, key=lambda row: -row[params.evaluate.primary]) + failed


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
        "milliseconds": judged["milliseconds"],
        "megabytes": judged["megabytes"],
        "split_digest": judged["split_digest"],
    }
