"""What `up` and `status` print of the services."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.printing import from_here

COLOURS = {"ready": "green", "starting": "yellow", "down": "red"}


def show_stack(console: Console, stack: Mapping[str, Any]) -> None:
    """One row a service."""
    table = Table()
    for heading in ("service", "", "where", "process", "since (UTC)"):
        table.add_column(heading, no_wrap=heading != "where", overflow="fold")
    for each in stack["services"]:
        state = f"[{COLOURS[each['state']]}]{each['state']}[/]"
        table.add_row(each["service"], state, each["where"], str(each["pid"] or ""), each["since"] or "")
    console.print(table)
    if "seconds" in stack:
        console.print(stack.get("found") or f"ready after {stack['seconds']} s")
        console.print(f"Data, logs and credentials: {escape(from_here(stack['folder']))}")
