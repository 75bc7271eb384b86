"""`nightreel leaderboard`: the candidates of a run side by side, and drawn."""

from pathlib import Path
from typing import Any

from flows.night import measure
from flows.outcome import Request
from flows.views.verdict_page import COSTS
from infra.disk import arriving, disk_errors
from infra.errors import Refused
from infra.settings import Settings
from tasks.params import load_params
from tasks.standings import standings

DRAWN = ("seconds", "peak_megabytes", "joules", "milliseconds")


def leaderboard(request: Request) -> list[dict[str, Any]]:
    """The `tasks.standings.standings` of a run that trains and evaluates every candidate."""
    outcome = measure(request)
    run = Settings().home_dir / "runs" / str(outcome.run) / "checkout"
    return standings(run, load_params(run / "params.yaml"), failed=outcome.failed_candidates)


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
