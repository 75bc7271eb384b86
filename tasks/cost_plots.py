"""A picture of candidates side by side: quality against what each costs, and which of them nobody beats."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from infra.errors import BadInput

KINDS = ("png", "svg", "pdf")
LEAST = 1e-3  # seconds are told in thousandths, and a logarithm has no place for none
ON_FRONT, OFF_FRONT = "#1f4e8c", "#8a8a8a"


def picture_kind(path: Path) -> str:
    """The format that the name of `path` asks for. Raises `BadInput` for one that is not drawn."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise BadInput(f"--plot takes a file that ends in .{', .'.join(KINDS)}. Received: {str(path)!r}")
    return kind


def plot_costs(rows: Sequence[Mapping[str, Any]], costs: Mapping[str, str], file: IO[bytes], *, kind: str) -> None:
    """Draw `rows`, those of the leaderboard that were measured, best first, into `file`.

    Args:
        rows: one a candidate: its `primary` metric, that figure and its interval, costs, `front` and `challenger`.
        costs: what to draw against quality, one panel each, and how it is called.
        kind: the format, one of `KINDS`.
    """
    figure = Figure(figsize=(12, 8), layout="constrained")
    first = rows[0]
    figure.supylabel(first["primary"])
    figure.suptitle(f"{first['primary']} and {first['confidence']:.0%} interval, {first['viewers']:,} viewers")
    for axes, (cost, called) in zip(figure.subplots(2, 2, sharey=True).flat, costs.items(), strict=True):
        _panel(axes, rows, cost)
        axes.set_xlabel(f"{called} (logarithmic)")
    named = [Line2D([], [], linestyle="", label=f"{at} {_called(row)}") for at, row in enumerate(rows, start=1)]
    marks = [
        Line2D([], [], linestyle="", marker="o", markersize=11, color=ON_FRONT, label="on the Pareto front"),
        Line2D([], [], linestyle="", marker="o", markersize=11, color=OFF_FRONT, markerfacecolor="w", label="beaten"),
    ]
    figure.legend(handles=[*marks, *named], loc="outside right upper")
    figure.savefig(file, dpi=110, format=kind)


def _called(row: Mapping[str, Any]) -> str:
    return f"{row['candidate']}, the challenger" if row["challenger"] else str(row["candidate"])


def _panel(axes: Axes, rows: Sequence[Mapping[str, Any]], cost: str) -> None:
    """Each candidate as its place in `rows`; the best is drawn last, above the others."""
    axes.set_xscale("log")
    few = max(row[cost] for row in rows) < 50 * max(min(row[cost] for row in rows), LEAST)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    for at, row in reversed(list(enumerate(rows, start=1))):
        x, y = max(row[cost], LEAST), row[row["primary"]]
        colour = ON_FRONT if row["front"] else OFF_FRONT
        axes.plot([x, x], [row["low"], row["high"]], color=colour, alpha=0.4)
        edge, face = ("w", colour) if row["front"] else (colour, "w")
        axes.plot(x, y, "o", markersize=16, markeredgecolor=edge, markerfacecolor=face)
        axes.annotate(str(at), (x, y), ha="center", va="center", color="w" if row["front"] else colour, fontsize=9)
    axes.margins(x=0.15)
