"""What identifies rows: a digest of them as text, and Parquet files whose bytes depend on nothing but the rows."""

import hashlib
import io
import os
from datetime import date
from pathlib import Path

import polars as pl
import polars.selectors as cs

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
    empty = [name for name in rows.columns[1:] if rows[name].null_count() == len(rows)]
    flat = rows.drop(empty).with_columns(cs.datetime().cast(TIMESTAMP).to_physical(), cs.list().list.join(UNIT))
    digest = hashlib.sha256()
    for start in range(0, max(len(flat), 1), SLICE):
        text = io.BytesIO()
        flat.slice(start, SLICE).write_csv(text, include_header=start == 0, quote_style="non_numeric")
        digest.update(text.getbuffer())
    return digest.hexdigest()


def day_digests(events: pl.DataFrame, days: frozenset[date]) -> dict[date, tuple[int, str]]:
    """Rows and digest of each of `days`, oldest first.

    Args:
        events: sorted by `day`, which is itself no part of the digest.
        days: days to tell of, those without a row included.
    """
    counts = dict(events.group_by(Events.DAY, maintain_order=True).len().iter_rows())
    starts, start = {}, 0
    for day, count in counts.items():
        starts[day], start = start, start + count
    rows = events.drop(Events.DAY)
    told = {day: rows.slice(starts.get(day, 0), counts.get(day, 0)) for day in sorted(days)}
    return {day: (len(its), rows_digest(its)) for day, its in told.items()}


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
