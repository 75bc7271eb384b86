"""What every reader can do, and the values that pass between readers, the copier and the landing store."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar, Protocol

import polars as pl

# A damaged Parquet page can make polars panic, which is no ordinary exception.
BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError)


class Unreadable(Exception):
    """A file is cut short, broken or changing: it is left out tonight and tried again next night."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, as listed.

    Attributes:
        table: one of `tasks.schema.TABLES`.
        uri: absolute path or `s3://bucket/key`.
        bytes: size.
        etag: the object store's version mark; None in a folder.
        day: the partition that the file belongs to; None for catalogues, and for logs that hold many days.
        sha256: digest that the source declares (`SHA256SUMS`) or that was computed here; None when not known yet.
        path: where the bytes lie when they are on this machine already; None on S3.
    """

    table: str
    uri: str
    bytes: int
    etag: str | None = None
    day: date | None = None
    sha256: str | None = None
    path: Path | None = None


@dataclass(frozen=True)
class LocalFile:
    """A source file whose bytes lie on this machine at `path` and have been checked; `source.sha256` is theirs."""

    source: SourceFile
    path: Path


@dataclass(frozen=True)
class LeftOut:
    """A file or partition that tonight goes without, and why."""

    uri: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a source holds: the files that count, and what is left out before anything is read."""

    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows in canonical columns and the files they came from."""

    frame: pl.DataFrame
    files: tuple[LocalFile, ...]


@dataclass(frozen=True)
class Tables:
    """What a reader made of its files.

    Attributes:
        events: canonical columns plus `day` (`pl.Date`); rows in the order of the files.
        days: the days that `events` says everything about, days without a row included.
        videos, users: the catalogues, None when not read.
        left_out: what could not be read.
    """

    events: Table
    days: frozenset[date]
    videos: Table | None = None
    users: Table | None = None
    left_out: tuple[LeftOut, ...] = ()


class Reader(Protocol):
    """One kind of source.

    `partitioned`: files carry their day, so a partition that has landed need not be read again, and the clock is
    today's. Otherwise the files are a finished log: all of it is read, and the clock is the day of its last event.
    `label`: what the landing store remembers to refuse mixing two sources.
    """

    partitioned: ClassVar[bool]
    label: ClassVar[str]

    def files(self) -> Listing:
        """List the source. Raises `BadInput` when it is not what this reader reads, `Unreachable` when it is away."""

    def read(self, files: Sequence[LocalFile], *, through: date | None) -> Tables:
        """Read `files`, without events of days after `through`. Raises `BadInput` on a schema fault.

        Ids that hold nothing may have the type `Null`.
        """


def read_whole(file: LocalFile, read: Callable[[LocalFile], pl.DataFrame]) -> pl.DataFrame:
    """`read` the file, sure that it is whole and kept still meanwhile.

    Raises:
        Unreadable: it is truncated, broken, empty, gone, or was written to.
    """
    try:
        frame = read(file)
        size = file.path.stat().st_size
    except BROKEN as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise Unreadable(f"it cannot be read: {lines[0]}") from error
    if size != file.source.bytes:
        raise Unreadable(f"it changed while it was read: {file.source.bytes} bytes became {size}")
    return frame


@dataclass(frozen=True)
class Frames:
    """What reading several files gave: a frame for each file that could be read, and the others with their reasons."""

    frames: list[pl.DataFrame]
    files: tuple[LocalFile, ...]
    left_out: tuple[LeftOut, ...]


def read_each(files: Iterable[LocalFile], read: Callable[[LocalFile], pl.DataFrame]) -> Frames:
    """`read` each file by itself, as `read_whole` does."""
    frames, whole, left_out = [], [], []
    for file in files:
        try:
            frames.append(read_whole(file, read))
            whole.append(file)
        except Unreadable as fault:
            left_out.append(LeftOut(file.source.uri, str(fault)))
    return Frames(frames, tuple(whole), tuple(left_out))


def of_table(files: Sequence[LocalFile], table: str) -> list[LocalFile]:
    """Those of `files` that belong to `table`."""
    return [file for file in files if file.source.table == table]
