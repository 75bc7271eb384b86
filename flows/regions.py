"""What the newest night on this machine knows of regions and hours."""

from pathlib import Path
from typing import Any

import polars as pl

from infra.disk import disk_errors
from infra.errors import BadInput
from infra.settings import Settings
from models.region_graph import RegionGraph
from tasks import paths
from tasks.regions import FLOWS, GRAPH, HOT_SPOTS
from tasks.stage import read_json

SHOWN = 12


def newest_regions(settings: Settings, name: str | None) -> Path:
    """The checkout of the newest night, of the recommender `name` or of any, that has looked at regions.

    Raises:
        BadInput: there is none on this machine.
    """
    looked = (settings.home_dir / "runs").glob(f"*/checkout/{paths.REGIONS_METRICS}")
    nights = {night.parents[1]: night.stat().st_mtime_ns for night in looked}
    own = [night for night in nights if name in (None, read_json(night / paths.LANDED)["name"])]
    there = [night for night in own if (night / paths.REGIONS / HOT_SPOTS).exists()]
    if not there:
        of = f" of {name}" if name else ""
        raise BadInput(f"No night{of} in {settings.home_dir} has looked at regions: run `nightreel retrain`.")
    return max(there, key=lambda night: (nights[night], night))


def describe_regions(night: Path) -> dict[str, Any]:
    """Of the night in the checkout `night`: its `run`, the step's counts, and the strongest `flows` and `hot_spots`."""
    flows = pl.read_parquet(night / paths.REGIONS / FLOWS).filter(pl.col("from") != pl.col("to"))
    spots = pl.read_parquet(night / paths.REGIONS / HOT_SPOTS).filter("hot")
    return {
        "run": night.parent.name,
        **read_json(night / paths.REGIONS_METRICS),
        "flows": flows.sort("steps", descending=True, maintain_order=True).head(SHOWN).to_dicts(),
        "hottest": spots.sort("residual", descending=True, maintain_order=True).head(SHOWN).to_dicts(),
    }


def draw_regions(night: Path, plot: Path) -> None:
    """Leave the heat map of the night in the checkout `night` at `plot`. Raises `BadInput` when it cannot be."""
    from tasks.region_plot import plot_regions

    if plot.suffix.lower() != ".png":
        raise BadInput(f"--plot must end in .png. Received: {plot}")
    graph = RegionGraph.load(night / paths.REGIONS / GRAPH)
    if not graph.regions:
        raise BadInput(f"There is nothing to plot: the events of run {night.parent.name} have no region.")
    with disk_errors(plot):
        plot_regions(graph, plot)
