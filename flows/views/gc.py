"""What `nightreel gc` and `nightreel audit holds` show."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from lineage.moments import minute

SHORT = 12


def show_collection(console: Console, told: Mapping[str, Any]) -> None:
    """What is kept and why, and what goes, by place."""
    kept = Table("release", "data until", "kept because it", "bytes", title=f"{escape(told['name'])}: kept")
    for one in told["kept"]:
        kept.add_row(one["release"][:SHORT], one["as_of"], _because(one["why"]), decimal(one["bytes"]))
    console.print(kept)
    for run in told["at_work"]:
        console.print(f"The night {escape(run)} is at work, and all that it has made is kept.")
    if not told["gone"] and not told["releases"]:
        console.print("[green]Nothing else is there.[/]")
        return
    word = "Gone" if told["applied"] else "Would go"
    gone = Table("place", "what", "count", "bytes", title=word, show_footer=True)
    for one in told["gone"]:
        gone.add_row(escape(one["place"]), one["what"], f"{one['count']:,}", decimal(one["bytes"]))
    gone.columns[0].footer, gone.columns[3].footer = "in all", decimal(sum(one["bytes"] for one in told["gone"]))
    for column in (2, 3):
        gone.columns[column].justify = "right"
    gone.columns[0].overflow = "fold"
    console.print(gone)
    _show_end(console, told)


def _show_end(console: Console, told: Mapping[str, Any]) -> None:
    ids = ", ".join(release[:SHORT] for release in told["releases"])
    if ids:
        console.print(f"{'Releases that are gone' if told['applied'] else 'Releases that would go'}: {ids}")
    if not told["applied"]:
        console.print("\n[yellow]Nothing has been removed.[/] To remove it:")
        console.print(f"  nightreel gc --keep {told['keep']} --name {escape(told['name'])} --apply", soft_wrap=True)


def _because(why: str) -> str:
    known = {
        "live": "[green]is live[/]",
        "was live": "was live not long ago",
        "hold": "[yellow]is on legal hold[/]",
        "young": "is young, and was never live",
    }
    return known.get(why, f"is {why}")


def show_holds(console: Console, holds: Sequence[Mapping[str, Any]]) -> None:
    """Every record, oldest first."""
    table = Table("hold", "action", "release", "at (UTC)", "by", "reason")
    for one in holds:
        who, why = escape(one["by"]), escape(one["reason"])
        table.add_row(str(one["seq"]), one["action"], one["release"][:SHORT], minute(one["at"]), who, why)
    console.print(table)
