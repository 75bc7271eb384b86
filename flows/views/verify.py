"""What `audit verify` and `audit key` print."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def show_verification(console: Console, done: Mapping[str, Any]) -> None:
    """One line that says that all holds, or a row for each thing that does not."""
    console.print(
        f"{done['releases']} releases, {done['nights']} nights and {done['entries']} ledger entries looked at"
    )
    console.print(f"signed by {escape(done['signature'])}")
    if not done["findings"]:
        console.print(f"[bold green]HOLDS[/]  {escape(done['name'])}: every digest, signature, link and alias")
        return
    table = Table("kind", "what", "fault")
    for finding in done["findings"]:
        table.add_row(finding["kind"], escape(finding["what"]), escape(finding["fault"]))
    console.print(table)
    console.print(f"[bold red]DOES NOT HOLD[/]  {escape(done['name'])}: {len(done['findings'])} faults")


def show_key(console: Console, key: Mapping[str, Any]) -> None:
    """The key's id, whether it was generated here, and its public half."""
    where = "generated on this machine" if key["generated_here"] else "from NIGHTREEL_SIGNING_KEY"
    console.print(f"key {key['keyid']}, {where}")
    console.print(key["public_key"], end="")
