"""The ledger, and one release."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.views.printing import cell, show_fields, table_of
from lineage.moments import minute


def show_releases(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """The ledger, oldest first."""
    table = table_of("entry", "action", "release", "version", "at (UTC)", "by", "reason", wrapped=("by", "reason"))
    for entry in entries:
        action = f"override until {entry['expires']}" if entry["expires"] else entry["action"]
        fields = (entry["seq"], action, entry["release"][:12], entry["model_version"], minute(entry["at"]))
        ended = f"\n[red]{cell(entry['ended'])}[/]" if entry.get("ended") else ""
        table.add_row(*(cell(value) for value in (*fields, entry["by"])), cell(entry["reason"]) + ended)
    console.print(table)


def show_manifest(console: Console, release: Mapping[str, Any]) -> None:
    """A release: facts, parts, verdict."""
    manifest = release["manifest"]
    facts = {
        "release": release["release"],
        "live": "yes" if release["live"] else "no",
        "recommender": manifest["name"],
        "candidate": manifest["candidate"],
        "data until": manifest["as_of"],
        "code commit": manifest["code"],
        "embedding space": manifest["space"],
        "verdict sha-256": manifest["verdict"],
        "signed by": release["signature"],
    }
    show_fields(console, facts)
    parts = table_of("part", "bytes", "sha-256")
    for name, part in manifest["parts"].items():
        parts.add_row(escape(name), f"{part['bytes']:,}", part["sha256"][:16])
    checks = table_of(
        "check", "challenger", release["verdict"]["against"], "bound", "", "reason", wrapped=("check", "reason")
    )
    for check in release["verdict"]["checks"]:
        values = (cell(check[name]) for name in ("name", "challenger", "champion", "bound"))
        checks.add_row(*values, "[green]✓[/]" if check["passed"] else "[red]✗[/]", escape(check["reason"]))
    console.print(parts, checks)
    show_releases(console, release["entries"])
