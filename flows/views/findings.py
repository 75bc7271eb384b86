"""What a reconciliation found."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape


def show_findings(console: Console, findings: Sequence[Mapping[str, Any]]) -> None:
    """One line a finding."""
    for finding in findings:
        console.print(f"[bold]{finding['what']}[/]  {escape(finding['said'])}")
    if not findings:
        console.print("Nothing is asked for in MLflow, and all of the live model is there.")
