"""A ledger of many entries on a folder: what status, an append and a proof of the whole chain take.

python benchmarks/ledger.py [--entries 10000]     one table: milliseconds, and entries read

The peer is a reader that walks the chain from its first entry, as whoever keeps no numbers in its keys has to.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from infra.settings import Settings
from lineage.books import Books
from lineage.ledger import Draft, Entry
from lineage.verify import verify_chain

T = TypeVar("T")
TIMES = 5


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--entries", type=int, default=10_000)
    count = options.parse_args().entries
    with tempfile.TemporaryDirectory() as home:
        books = Books(Settings(home=Path(home)), "movielens", require_signature=True)
        head = _grow(books, count)
        walk, _ = _timed(lambda: list(books.ledger.entries()), times=1)
        first, _ = _timed(books.ledger.proven_head, times=1)
        table = Table("", "milliseconds", "to a walk of the chain", title=f"A ledger of {count:,} entries on a folder")
        rows = {
            "walk of the chain from the first entry (peer)": walk,
            "first load: proven head, nothing seen before": first,
            "status: head": _timed(books.ledger.head)[0],
            "load: proven head, seen before": _timed(books.ledger.proven_head)[0],
            "append": _appends(books, head),
            "audit verify: every link and signature": _timed(
                lambda: list(verify_chain(books, books.ledger.examined())), times=1
            )[0],
        }
        for name, seconds in rows.items():
            table.add_row(name, f"{seconds * 1000:,.1f}", f"{seconds / walk:.3f}")
        Console().print(table)


def _grow(books: Books, count: int) -> Entry:
    entry: Entry | None = None
    for number in range(count):
        entry = books.ledger.append(_draft(number), after=entry)
    assert entry is not None
    return entry


def _draft(number: int) -> Draft:
    return Draft(
        action="release", release=f"{number:064x}", run=f"night {number}", by="night", reason="passed the gate"
    )


def _appends(books: Books, head: Entry) -> float:
    taken = []
    for number in range(TIMES):
        seconds, head = _timed(
            lambda at=number, after=head: books.ledger.append(_draft(10**9 + at), after=after), times=1
        )
        taken.append(seconds)
    return median(taken)


def _timed(act: Callable[[], T], times: int = TIMES) -> tuple[float, T]:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        given = act()
        taken.append(time.perf_counter() - started)
    return median(taken), given


if __name__ == "__main__":
    main()
