"""What monitoring found, on the screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.verdict_page import figure

COLOURS = {"below": "red", "above": "yellow", "in control": "green", "drift": "red", "steady": "green"}
STATUS = {"watched": "green", "nothing new": "cyan", "rolled back": "red", "rollback refused": "red"}


def show_watched(console: Console, watched: Mapping[str, Any]) -> None:
    """Status, the windows with the control chart's word, the newest window's drift, and what to know."""
    status = watched["status"]
    console.print(
        f"\n[bold {STATUS[status]}]{status.upper()}[/]  {escape(watched['name'])}, release {watched['release'][:12]} "
        f"({watched['candidate']}), trained until {watched['as_of']}"
    )
    if watched["windows"]:
        console.print(_windows(watched))
    if watched["drift"]:
        console.print(_drift(watched))
    if watched["waiting"]:
        console.print(f"Too few viewers so far, joined with the days to come: {', '.join(watched['waiting'])}")
    for sentence in watched["said"]:
        console.print(f"[yellow]•[/] {escape(sentence)}")
    if watched["evidence"]:
        console.print(f"Evidence: evidence/{watched['evidence']}.json in the store", soft_wrap=True)


def _windows(watched: Mapping[str, Any]) -> Table:
    table = Table(
        title=f"{watched['primary']} on days after training, {watched['new']} windows new", title_justify="left"
    )
    for heading in ("days", "viewers", "release", watched["primary"], "popularity", "limits", "chart", "drifting"):
        table.add_column(heading, no_wrap=True)
    for row in watched["windows"]:
        days = row["last"] if row["first"] == row["last"] else f"{row['first']}+{row['last'][5:]}"
        limits = "" if row["chart"] == "learning" else f"{max(row['low'], 0):.4f}-{row['high']:.4f}"
        word = f"[{COLOURS.get(row['chart'], 'default')}]{row['chart']}[/]"
        figures = (f"{row['value']:.4f}", f"{row['baseline']:.4f}", limits, word, str(len(row["drifting"])))
        table.add_row(days, f"{row['viewers']:,}", row["release"][:8], *figures)
    return table


def _drift(watched: Mapping[str, Any]) -> Table:
    table = Table(title="The newest window against the training data", title_justify="left")
    for heading in ("about", "what", "statistic", "observed", "bound", "bound is", ""):
        table.add_column(heading, no_wrap=True)
    for row in watched["drift"]:
        cells = (row["about"], row["what"], row["statistic"], figure(row["observed"]), figure(row["bound"]), row["of"])
        table.add_row(*cells, f"[{COLOURS[row['word']]}]{row['word']}[/]")
    return table
