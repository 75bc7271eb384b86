"""What identifies rows: a digest of them as text, and Parquet files whose bytes depend on nothing but the rows."""

import hashlib
import io
import os
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from infra.disk import arriving, disk_errors, make_folder, sync_folder
from tasks.schema import TIMESTAMP, Events

SLICE = 1_000_000
ROW_GROUP = 250_000
# Joins the values of a list in a row's text: a character that no tag contains.
UNIT = "\x1f"


def rows_digest(rows: pl.DataFrame) -> str:
    """SHA-256 of `rows` as CSV text with a header, in their order.

    Strings are quoted and nulls are not, times are milliseconds since 1970, lists are joined by U+001F. Columns without
    a value are left out, so that a column which another day brings changes nothing; the first column always counts.
    """
    flat = _flat(rows.drop([name for name in rows.columns[1:] if rows[name].null_count() == len(rows)]))
    digest = hashlib.sha256(_text(flat.clear(), header=True))
    for start in range(0, len(flat), SLICE):
        digest.update(_text(flat.slice(start, SLICE)))
    return digest.hexdigest()


def day_digests(events: pl.DataFrame, days: frozenset[date]) -> dict[date, tuple[int, str]]:
    """Rows of each of `days` and their `rows_digest`, oldest first.

    All days with the same columns become text at once and are cut apart there: a source of twenty years has
    thousands of them, and a call a day would take seconds.

    Args:
        events: sorted by `day`, which is itself no part of the digest.
        days: days to tell of, those without a row included.
    """
    none = rows_digest(events.drop(Events.DAY).clear())
    told = {day: (0, none) for day in sorted(days)}
    for columns, its in _days_by_columns(events).items():
        rows = events.filter(pl.col(Events.DAY).is_in(its)).select(Events.DAY, *columns)
        told.update((day, facts) for day, facts in _digests_of_runs(rows).items() if day in days)
    return told


def _days_by_columns(events: pl.DataFrame) -> dict[tuple[str, ...], list[date]]:
    """The days with a row, by the columns that have a value on them; the first column always counts."""
    first, *others = (name for name in events.columns if name != Events.DAY)
    filled = events.group_by(Events.DAY, maintain_order=True).agg(pl.col(others).is_not_null().any())
    days: dict[tuple[str, ...], list[date]] = {}
    for day, *has in filled.iter_rows():
        days.setdefault((first, *(name for name, is_filled in zip(others, has, strict=True) if is_filled)), []).append(
            day
        )
    return days


def _digests_of_runs(rows: pl.DataFrame) -> dict[date, tuple[int, str]]:
    """Rows and digest of each day of `rows`, which are sorted by it; one row's text never reaches into the next."""
    flat = _flat(rows.drop(Events.DAY))
    header = _text(flat.clear(), header=True)
    counts, digests = Counter[date](), defaultdict[date, Any](lambda: hashlib.sha256(header))
    for start in range(0, len(rows), SLICE):
        text = _text(flat.slice(start, SLICE))
        ends, row, begin = _row_ends(text), 0, 0
        for run in rows[Events.DAY].slice(start, SLICE).rle().to_list():
            row += run["len"]
            digests[run["value"]].update(memoryview(text)[begin : ends[row - 1]])
            counts[run["value"]] += run["len"]
            begin = ends[row - 1]
    return {day: (counts[day], digest.hexdigest()) for day, digest in digests.items()}


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(cs.datetime().cast(TIMESTAMP).to_physical(), cs.list().list.join(UNIT))


def _text(flat: pl.DataFrame, *, header: bool = False) -> bytes:
    text = io.BytesIO()
    flat.write_csv(text, include_header=header, quote_style="non_numeric")
    return text.getvalue()


def _row_ends(text: bytes) -> NDArray[np.int64]:
    """Where each row of CSV text ends: after the line breaks outside quotes (a quote inside a string is doubled)."""
    characters = np.frombuffer(text, np.uint8)
    quotes_so_far = np.cumsum(characters == ord('"'), dtype=np.uint8)  # may wrap: only odd or even counts
    return np.flatnonzero((characters == ord("\n")) & (quotes_so_far % 2 == 0)) + 1


def write_parquet(rows: pl.DataFrame, folder: Path) -> Path:
    """Write `rows` to `folder/<sha256 of the file>.parquet`, whole and synced. Equal rows give equal bytes.

    Raises:
        BadInput: the disk is full or refuses.
    """
    encoded = io.BytesIO()
    rows.rechunk().write_parquet(encoded, compression="zstd", compression_level=3, row_group_size=ROW_GROUP)
    path = folder / f"{hashlib.sha256(encoded.getbuffer()).hexdigest()}.parquet"
    with disk_errors(folder):
        make_folder(folder)
        with arriving(path) as file:
            file.write(encoded.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
    return path
