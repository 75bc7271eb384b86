"""What the readers of published logs share: many days in a file, columns picked by their official names."""

from collections.abc import Iterable
from datetime import date
from functools import partial

import polars as pl

from infra.errors import BadInput
from tasks.readers.base import Frames, LocalFile, Table, read_each
from tasks.schema import Events


def pick_columns(file: LocalFile, *, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Read `columns` of a CSV file with exactly these types; others are ignored.

    Raises:
        BadInput: a column is missing; names column and file.
    """
    header = pl.read_csv(file.path, n_rows=0, glob=False).columns
    if missing := [name for name in columns if name not in header]:
        raise BadInput(f"{file.source.uri} lacks the column {', '.join(missing)}. Received: {', '.join(header)}")
    rows = pl.read_csv(file.path, columns=list(columns), schema_overrides=columns, glob=False)
    return rows.select(list(columns))


def read_picked(files: Iterable[LocalFile], columns: dict[str, pl.DataType]) -> tuple[pl.DataFrame, Frames]:
    """The rows of all `files` in order below each other, and what became of each file."""
    read = read_each(files, partial(pick_columns, columns=columns))
    return pl.concat([pl.DataFrame(schema=columns), *read.frames]), read


def known_by(events: pl.DataFrame, through: date | None) -> pl.DataFrame:
    """Events of days up to `through`. A row without a day falls on the newest, where validation finds it."""
    placed = events.with_columns(pl.col(Events.DAY).fill_null(pl.col(Events.DAY).max()))
    return placed if through is None else placed.filter(pl.col(Events.DAY) <= through)


def days_of(events: pl.DataFrame) -> frozenset[date]:
    """The days that have rows."""
    return frozenset(events[Events.DAY].unique().drop_nulls().to_list())


def snapshot(read: Frames) -> Table | None:
    """A catalogue of several files as one; None when none could be read."""
    return Table(pl.concat(read.frames, how="diagonal_relaxed"), read.files) if read.frames else None
