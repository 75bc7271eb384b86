"""What people see: each screen at 100 columns."""

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

WIDTH = 100
RELEASE = "3118b1999708" + "0" * 52


def seen(render: Callable[[Console, Any], None], content: object, *, width: int = WIDTH) -> str:
    """What `render` prints, with no line wider than the terminal."""
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
    render(console, content)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert all(len(line) <= width for line in printed.splitlines())
    return "\n".join(line.rstrip() for line in printed.splitlines())


def rows(printed: str) -> list[list[str]]:
    """The cells of the body of each table."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if line[:1] == "│"]
