"""What a person sees while something runs: one progress bar style for all long work."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Progress]:
    """A Rich progress bar on standard error; silent where standard error is no terminal.

    `console`: of what is logged meanwhile, so that it is written above the bar.
    """
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console or Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        yield bar


def track(items: Iterable[T], *, label: str, total: int) -> Iterator[T]:
    """Yield `items` while a bar named `label` counts them up to `total`."""
    with progress_bar() as bar:
        yield from bar.track(items, total=total, description=label)
