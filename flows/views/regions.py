"""Regions and hours on the screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.printing import show_fields
from tasks.regions import shown


def show_regions(console: Console, known: Mapping[str, Any]) -> None:
    """Counts as lines, then the strongest flows and the hot spots, each by hour."""
    if not known["regions"]:
        console.print(f"The events of run {known['run']} have no region.")
        return
    stays = known["steps"] - known["moves"]
    fields = {
        "run": known["run"],
        "regions": f"{known['regions']:,}, {known['events']:,} training events",
        "steps": f"{known['steps']:,}, of which {stays:,} stay in their region",
        "viewers": f"{known['viewers']:,}, {known['viewers_with_vector']:,} of them with a vector",
        "hot spots": f"{known['hot_spots']:,}",
    }
    show_fields(console, fields)
    if known["flows"]:
        flows = _table("Strongest flows", "hour (UTC)", "from", "to", "steps")
        for flow in known["flows"]:
            flows.add_row(_hour(flow), escape(shown(flow["from"])), escape(shown(flow["to"])), f"{flow['steps']:,}")
        console.print(flows)
    if known["hottest"]:
        spots = _table("Hot spots", "hour (UTC)", "region", "visits", "expected", "residual")
        for spot in known["hottest"]:
            figures = (f"{spot['visits']:,}", f"{spot['expected']:,.1f}", f"{spot['residual']:+.1f}")
            spots.add_row(_hour(spot), escape(shown(spot["region"])), *figures)
        console.print(spots)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("from", "to", "region") else "right")
    return table


def _hour(row: Mapping[str, Any]) -> str:
    return f"{row['hour']:02d} h"
