"""The candidates side by side: quality with confidence intervals, what each costs, and which the night would choose."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flows.night import measure
from flows.outcome import Request
from flows.view import COSTS
from infra.disk import arriving, disk_errors
from infra.errors import Refused
from infra.settings import Settings
from tasks import paths
from tasks.bootstrap import paired_bootstrap
from tasks.index import challenger
from tasks.params import Params, load_params
from tasks.pareto import pareto_front
from tasks.stage import read_json

# What is weighed against quality; energy goes with seconds, and a model's size with memory.
FRONT = ("seconds", "peak_megabytes", "milliseconds")
DRAWN = ("seconds", "peak_megabytes", "joules", "milliseconds")


def leaderboard(request: Request) -> list[dict[str, Any]]:
    """One row a candidate, best first.

    Figures, the primary metric's interval, costs (seconds, memory, an estimate of energy, milliseconds, size), whether
    no other is as good and as cheap in seconds, memory and milliseconds (`front`), and which is the `challenger`.
    """
    outcome = measure(request)
    run = Settings().home_dir / "runs" / str(outcome.run) / "checkout"
    params = load_params(run / "params.yaml")
    out = outcome.failed_candidates
    rows = [_row(run, candidate, params) for candidate in params.every_candidate if candidate not in out]
    _mark(rows, params)
    failed = [{"candidate": name, "failed": reason} for name, reason in out.items()]
    return sorted(rows, key=lambda row: -row[params.evaluate.primary]) + failed


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw quality against `DRAWN` costs to `path`, in place of what is there.

    Raises:
        BadInput: the file is of no kind that can be drawn, or cannot be written.
        Refused: no candidate was measured.
    """
    from tasks.cost_plots import picture_kind, plot_costs

    measured = [row for row in rows if "failed" not in row]
    if not measured:
        raise Refused("There is nothing to draw: no candidate could be measured")
    with disk_errors(path), arriving(path) as file:
        plot_costs(measured, {cost: COSTS[cost] for cost in DRAWN}, file, kind=picture_kind(path))


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
