"""A search on the screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.views.printing import from_here, show_fields
from flows.views.verdict_page import figure

SHOWN = 10


def show_tuned(console: Console, tuned: Mapping[str, Any]) -> None:
    """The best trials and that of the present parameters, then the proposal as a diff and where it lies."""
    trials = tuned["trials"]
    whole = [each for each in trials if each["state"] == "complete"]
    title = f"{tuned['candidate']}, {_counted(trials)}, judged by validation"
    table = Table(title=title, title_justify="left")
    for heading in ("trial", tuned["metric"], "seconds", *whole[0]["values"]):
        table.add_column(heading, overflow="fold")
    for rank, trial in enumerate(whole):
        is_present = trial["number"] == tuned["present"]
        if rank < SHOWN or is_present:
            cells = (trial["value"], trial["seconds"], *(_written(value) for value in trial["values"].values()))
            number = f"{trial['number']}{' (present)' if is_present else ''}"
            table.add_row(number, *(escape(figure(cell)) for cell in cells), style="bold" if rank == 0 else "")
    console.print(table)
    if tuned["diff"]:
        console.print(Text(f"\n{tuned['diff']}"), soft_wrap=True)
    else:
        console.print("params.yaml has the best parameters already: nothing to propose.")
    use = f"git apply {from_here(tuned['proposal'])}" if tuned["proposal"] else None
    show_fields(console, {"study": tuned["study"], "data": f"run {tuned['run']}", "to use it": use})


def _counted(trials: list[Mapping[str, Any]]) -> str:
    """For example "20 trials, 3 pruned"."""
    states = [each["state"] for each in trials]
    more = ((states.count("pruned"), "pruned"), (states.count("fail"), "failed"))
    return ", ".join([f"{len(trials)} trials", *(f"{count} {word}" for count, word in more if count)])


def _written(value: object) -> object:
    """As `params.yaml` has it."""
    return "null" if value is None else value
