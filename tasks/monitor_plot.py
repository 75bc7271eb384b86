"""A page that loads nothing from anywhere: control charts over windows, drift over windows, and the tables."""

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TEMPLATE = "monitor.html.j2"
LINE, BASELINE, LIMIT, BAD = "#1f4e8c", "#8a6d1f", "#7a8794", "#a3131f"
MOST_NAMED = 16  # days that the axis names, at most

Row = Mapping[str, Any]


def monitor_page(watched: Row, *, at: datetime) -> str:
    """The page about `watched`, the fields of `flows.outcome.Watched`, made at the moment `at` (UTC)."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("tasks") / TEMPLATE).read_text(encoding="utf-8"))
    charts = _charts(watched) if watched["windows"] else []
    return template.render(watched, charts=charts, at=at.strftime("%Y-%m-%d %H:%M"))


def _charts(watched: Row) -> list[dict[str, str]]:
    rows, metric = watched["windows"], watched["primary"]
    drift = sorted({(of["about"], of["what"]) for row in rows for of in row["drift"] if of["statistic"] != "js"})
    return [
        {
            "title": f"{metric} on days after training",
            "note": "Mean over the viewers of each window, and the control chart; a cross is out of control.",
            "svg": _svg(rows, lambda axes: _control(axes, rows, metric), height=4.0),
        },
        {
            "title": f"Gain over popularity in {metric}",
            "note": "Of the same viewers on the same days: a day that is bad for all leaves it as it is.",
            "svg": _svg(rows, lambda axes: _gain(axes, rows), height=3.2),
        },
        {
            "title": "Drift, as a share of its bound",
            "note": "1 is the bound. Of features of events the stability index (PSI) is shown.",
            "svg": _svg(rows, lambda axes: _shares(axes, rows, drift), height=4.5),
        },
    ]


def _svg(rows: Sequence[Row], draw: Callable[[Axes], None], *, height: float) -> str:
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = figure.subplots()
    draw(axes)
    step = max(len(rows) // MOST_NAMED, 1)
    named = range(0, len(rows), step)
    axes.set_xticks(list(named), [rows[at]["last"] for at in named], rotation=30, ha="right")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "nightreel"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def _control(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    places = range(len(rows))
    axes.plot(places, [row["baseline"] for row in rows], "s--", color=BASELINE, markersize=4, label="popularity")
    axes.plot(places, [row["value"] for row in rows], "o-", color=LINE, label=metric)
    _limits(axes, rows, "")
    _crosses(axes, rows, "value", "chart")
    axes.set_ylim(bottom=0)


def _gain(axes: Axes, rows: Sequence[Row]) -> None:
    places = range(len(rows))
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.plot(places, [row["gain"]["mean"] for row in rows], "o-", color=LINE, label="gain")
    _limits(axes, rows, "gain_")
    flat = [{**row, "gain_mean": row["gain"]["mean"]} for row in rows]
    _crosses(axes, flat, "gain_mean", "gain_chart")


def _limits(axes: Axes, rows: Sequence[Row], of: str) -> None:
    centre = rows[-1][f"{of}centre"]
    if centre is None:
        return
    axes.axhline(centre, color=LIMIT, label="centre")
    low, high = ([row[f"{of}{end}"] for row in rows] for end in ("low", "high"))
    axes.step(range(len(rows)), low, where="mid", color=LIMIT, linestyle=":", label="limits")
    axes.step(range(len(rows)), high, where="mid", color=LIMIT, linestyle=":")


def _crosses(axes: Axes, rows: Sequence[Row], value: str, word: str) -> None:
    out = [(at, row[value]) for at, row in enumerate(rows) if row[word] in ("below", "above")]
    if out:
        axes.plot(*zip(*out, strict=True), "x", color=BAD, markersize=12, markeredgewidth=3, label="out of control")


def _shares(axes: Axes, rows: Sequence[Row], drift: Sequence[tuple[str, str]]) -> None:
    axes.axhline(1, color=BAD, linewidth=1)
    for number, (about, what) in enumerate(drift):
        marks = "osv^D*"[number // 10 % 6]
        values = [_share(row, about, what) for row in rows]
        axes.plot(range(len(rows)), values, marker=marks, markersize=4, label=f"{about} {what}".replace("_", " "))
    axes.set_ylim(bottom=0)


def _share(row: Row, about: str, what: str) -> float:
    found = (of for of in row["drift"] if (of["about"], of["what"]) == (about, what) and of["statistic"] != "js")
    return next((of["observed"] / of["bound"] if of["bound"] else 0.0 for of in found), float("nan"))
