"""One picture of regions by hour: where and when more is watched than the region and the hour would make expect."""

import warnings
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from models.region_graph import HOURS, HotSpots, RegionGraph
from tasks.regions import shown

MOST = 30  # regions in the picture
STRONG = 6.0  # adjusted residual from which on the colour stays the same


def plot_regions(graph: RegionGraph, path: Path) -> None:
    """Write the heat map of the adjusted residuals as PNG, the most visited regions on top, their visits beside it."""
    busiest = np.argsort(-graph.visits.sum(axis=1), kind="stable")[:MOST]
    figure = Figure(figsize=(13, 2.5 + 0.3 * len(busiest)), layout="constrained")
    heat, bars = figure.subplots(1, 2, sharey=True, width_ratios=[5, 1])
    image = _heat(heat, graph, graph.hot_spots(), busiest)
    bars.barh(np.arange(len(busiest)), graph.visits.sum(axis=1)[busiest], color="0.55")
    bars.set_xlabel("visits")
    bars.grid(alpha=0.3, axis="x")
    figure.colorbar(image, ax=[heat, bars], label="adjusted residual", extend="both", pad=0.01)
    of = f"the {len(busiest)} busiest of {len(graph.regions):,} regions" if len(busiest) < len(graph.regions) else ""
    figure.suptitle("  ".join(["Visits against what region and hour expect", of]).strip())
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _heat(axes: Axes, graph: RegionGraph, spots: HotSpots, rows: NDArray[np.int64]) -> AxesImage:
    image = axes.imshow(spots.residual[rows], cmap="RdBu_r", vmin=-STRONG, vmax=STRONG, aspect="auto")
    hot = np.argwhere(spots.hot[rows])
    axes.scatter(hot[:, 1], hot[:, 0], s=28, facecolor="black", edgecolor="white")
    names = [shown(graph.regions[row]) for row in rows.tolist()]
    axes.set_yticks(np.arange(len(rows)), names, parse_math=False)
    axes.set_xticks(np.arange(HOURS))
    axes.set_xlabel("hour of the day (UTC); a dot is a hot spot")
    return image
