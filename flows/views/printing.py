"""What the commands print: tables where people look, JSON where programs read."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.verdict_page import figure

Content = TypeVar("Content")


def show(content: Content, render: Callable[[Console, Content], None], *, as_json: bool) -> None:
    """Print `content` with `render`, or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")
    else:
        render(Console(highlight=False, emoji=False), content)


def show_fields(console: Console, fields: Mapping[str, Any]) -> None:
    """One line a field."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            table.add_row(name, cell(value))
    console.print(table)


def table_of(*headings: str, wrapped: Sequence[str] = ()) -> Table:
    """A table whose cells stay on one line, but for the columns `wrapped`."""
    table = Table()
    for heading in headings:
        folds = heading in wrapped
        table.add_column(heading, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    return table


def cell(value: object) -> str:
    """A value as `figure` writes it; square brackets in it are no markup."""
    return escape(figure(value))


def from_here(path: str) -> str:
    """`path`, from the current folder where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
