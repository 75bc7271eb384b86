"""Candidates beside each other: quality above, costs below."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.printing import table_of
from flows.views.verdict_page import COSTS

BESIDE_CANDIDATES, A_CANDIDATE = 24, 19  # widths of the leaderboard's headings and of a column, borders included


def show_leaderboard(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """One column a candidate, best first, what it cost below; as many tables as the width asks for."""
    measured = [row for row in rows if "failed" not in row]
    fit = max((console.width - BESIDE_CANDIDATES) // A_CANDIDATE, 1)
    for start in range(0, len(measured), fit):
        console.print(_candidates(measured[start : start + fit]))
    for row in rows:
        if "failed" in row:
            console.print(f"[yellow]candidate {row['candidate']} failed:[/] {escape(row['failed'])}")


def _candidates(rows: Sequence[Mapping[str, Any]]) -> Table:
    first = rows[0]
    primary = first["primary"]
    others = [name for name in first if "@" in name and name != primary]
    table = table_of("", *(row["candidate"] for row in rows))
    table.title = f"{first['viewers']:,} viewers, split {first['split_digest'][:12]}"
    table.add_row(primary, *(f"{row[primary]:.4f}" for row in rows), style="bold")
    between = (f"{row['low']:.4f} to {row['high']:.4f}" for row in rows)
    table.add_row(f"{first['confidence']:.0%} interval", *between, end_section=True)
    for name in others:
        table.add_row(name, *(f"{row[name]:.4f}" for row in rows), end_section=name == others[-1])
    for cost, heading in COSTS.items():
        table.add_row(heading, *(f"{row[cost]:.1f}" for row in rows), end_section=cost == list(COSTS)[-1])
    table.add_row("on the Pareto front", *("yes" if row["front"] else "" for row in rows))
    table.add_row("the challenger", *("yes" if row["challenger"] else "" for row in rows))
    return table
