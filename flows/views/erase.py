"""What `nightreel audit erase` shows: the record, what still holds the viewer, and how to remove it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.views.printing import show_fields
from lineage.moments import minute

Row = Mapping[str, Any]
FEW = 12  # things named one by one; of more, their number by the place where they lie


def show_erasure(console: Console, told: Mapping[str, Any]) -> None:
    """The erasure, what is left to remove, and what is not ours to remove."""
    erasure = told["erasure"]
    show_fields(
        console,
        {
            "erasure": f"{erasure['seq']} of {erasure['name']}",
            "viewer": f"HMAC-SHA256 {erasure['subject']}, key {erasure['key_id']}",
            "recorded": f"{minute(erasure['at'])} UTC by {erasure['by']}",
            "reason": erasure["reason"],
        },
    )
    kinds: dict[str, list[Row]] = {}
    for row in told["holdings"]:
        kinds.setdefault(row["kind"], []).append(row)
    for kind, rows in kinds.items():
        console.print(f"\n[bold]{kind}[/] ({len(rows):,})")
        for line in _lines(kind, rows):
            console.print(f"  {escape(line)}", soft_wrap=True)
    _show_end(console, told)


def _show_end(console: Console, told: Mapping[str, Any]) -> None:
    if not told["holdings"]:
        console.print("\n[green]Nothing here holds the viewer.[/]")
    for command in dict.fromkeys(row["remove"] for row in told["holdings"]):
        console.print("\n[yellow]All of this still holds the viewer.[/] To remove it:")
        console.print(f"  {escape(command)}", soft_wrap=True)
    for hold in told["held"]:
        said = f"{hold['release'][:12]} is on legal hold by {hold['by']}: {hold['reason']}. It has to be freed before."
        console.print(f"[yellow]{escape(said)}[/]")
    for name, count in told["shared"].items():
        console.print(f"{count} DVC objects stay, because nights of {escape(name)} need them: erase there as well.")
    if told["sources"]:
        console.print("\nThe source holds the viewer too, and is its owner's to change:")
    for uri in told["sources"]:
        console.print(f"  {escape(uri)}", soft_wrap=True)


def _lines(kind: str, rows: list[Row]) -> list[str]:
    """One line for each of a few things, and of many one for each place with their number."""
    if kind == "release":
        return [f"{row['what'][:12]}, {row['where']}" for row in rows]
    if len(rows) <= FEW:
        return [row["where"] for row in rows]
    return [f"{place} ({count:,})" for place, count in sorted(Counter(map(_place, rows)).items())]


def _place(row: Row) -> str:
    if row["kind"] == "DVC object":
        return f"{row['where'].rpartition(': ')[0]}: {'/'.join(row['what'].split('/')[:2])}"
    return str(row["what"] if row["kind"] == "release part" else row["where"].rpartition("/")[0])
