"""How a night ended, and a replay of many."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.views.printing import from_here, show_fields, table_of
from flows.views.verdict_page import figure
from infra.git import run_ref
from lineage.moments import minute

COLOURS = {"released": "green", "unchanged": "cyan", "waiting": "yellow", "refused": "red", "stopped": "yellow"}


def show_outcome(console: Console, outcome: Mapping[str, Any]) -> None:
    """How a night ended: status, figures, where to look."""
    status = outcome["status"]
    title = f"{outcome['name']}, night of {outcome['as_of']}"
    console.print(f"\n[bold {COLOURS.get(status, 'white')}]{status.upper()}[/]  {escape(title)}")
    compared = f"{figure(outcome['challenger_score'])}"
    if outcome["champion_score"] is not None:
        compared += f" (champion {figure(outcome['champion_score'])})"
    fields = {
        "challenger": f"{outcome['challenger']}, {outcome['primary']} {compared}",
        "rows": f"{outcome['rows']:,}, {outcome['quarantined']:,} in quarantine",
        "release": outcome["release"]
        and outcome["release"][:12] + (f", ledger entry {outcome['seq']}" if outcome["seq"] else ", not live"),
        "model version": outcome["model_version"],
        "waits for": outcome["until"]
        and f"approval until {minute(outcome['until'])} UTC: `nightreel approve "
        f"{outcome['model_version']} --reason TEXT` or `nightreel reject`",
        "run": f"{outcome['run']} (git ref {run_ref(outcome['run'])})",
        "data docs": outcome["docs"] and from_here(outcome["docs"]),
        "seconds": ", ".join(f"{step} {seconds:.1f}" for step, seconds in outcome["seconds"].items()),
    }
    show_fields(console, fields)
    for candidate, reason in outcome["failed_candidates"].items():
        console.print(f"[yellow]candidate {candidate} failed:[/] {escape(reason)}")
    if outcome["refresh"]:
        console.print(f"[bold]new videos[/]  {escape(outcome['refresh'])}")
    if outcome["override"]:
        console.print(f"[yellow]override:[/] {escape(outcome['override'])}")
    for reason in outcome["reasons"]:
        console.print(f"[red]✗[/] {escape(reason)}")


def show_replay(console: Console, nights: Sequence[Mapping[str, Any]]) -> None:
    """One row a night."""
    primary = next((night["primary"] for night in nights if night["primary"]), "score")
    table = table_of("day", "rows", "quarantined", "challenger", primary, "champion", "verdict", "live release")
    table.title = f"{len(nights)} nights"
    live = ""
    for night in nights:
        live = night["release"][:12] if night["seq"] else live
        status = night["status"]
        table.add_row(
            night["as_of"],
            _count(night["rows"]),
            _count(night["quarantined"]),
            night["challenger"] or "",
            figure(night["challenger_score"]),
            figure(night["champion_score"]),
            f"[{COLOURS[status]}]{status}[/]",
            live,
        )
    console.print(table)
    for night in nights:
        for reason in night["reasons"]:
            console.print(f"{night['as_of']}: {escape(reason)}")


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
