"""What `nightreel audit erase` shows: the record, what still holds the viewer, and how to remove it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.view import show_fields

FEW = 8  # things named one by one; of more, their number and the places where they lie
APPLY = "nightreel audit erase ... --apply"


def show_erasure(console: Console, told: Mapping[str, Any]) -> None:
    """The erasure, what is left to remove, and what is not ours to remove."""
    erasure = told["erasure"]
    show_fields(
        console,
        {
            "erasure": f"{erasure['seq']} of {erasure['name']}",
            "subject": f"{erasure['subject']} (hashed with the key {erasure['key_id']})",
            "recorded": f"{erasure['at'][:16].replace('T', ' ')} UTC by {erasure['by']}",
            "reason": erasure["reason"],
        },
    )
    if told["holdings"]:
        console.print(_table(told))
    elif told["applied"]:
        console.print("[green]Nothing here holds the viewer any more.[/]")
    else:
        console.print("[green]Nothing here holds the viewer.[/]")
    for name, count in told["shared"].items():
        console.print(f"{count} DVC objects stay, because nights of {escape(name)} need them: erase there as well.")
    for uri in told["sources"]:
        console.print(f"[yellow]The source is its owner's to change:[/] {escape(uri)}")


def _table(told: Mapping[str, Any]) -> Table:
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in told["holdings"]:
        kinds.setdefault(row["kind"], []).append(row)
    table = Table(title="Still holding the viewer")
    for heading in ("kind", "number", "which", "removed by"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "number")
    for kind, rows in kinds.items():
        remove = f"nightreel retrain, then {APPLY}" if told["live"] else APPLY
        table.add_row(kind, f"{len(rows):,}", escape(_which(kind, rows)), remove)
    return table


def _which(kind: str, rows: list[Mapping[str, Any]]) -> str:
    if kind == "release":
        return "\n".join(f"{row['what'][:12]} ({row['where']})" for row in rows)
    if len(rows) <= FEW:
        return "\n".join(row["where"] for row in rows)
    counts = Counter(_folder(row) for row in rows)
    return "\n".join(f"{folder} ({count:,})" for folder, count in sorted(counts.items()))


def _folder(row: Mapping[str, Any]) -> str:
    """Where one of many things lies, short: DVC's place and step, or the folder."""
    if row["kind"] == "DVC object":
        return f"{row['where'].rpartition(': ')[0]}: {'/'.join(row['what'].split('/')[:2])}"
    return str(row["where"].rpartition("/")[0])
