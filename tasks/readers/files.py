"""The canonical contract from a folder or `s3://bucket/prefix`, Parquet or CSV.

Layout, `.parquet` or `.csv` each:

    events/2022-04-10/*.parquet      one folder a day; `events/day=2022-04-10/` works as well
    events/2022-04-10.csv            or one file a day
    videos.parquet or videos/*       the catalogue (optional)
    users.csv or users/*             viewers' attributes (optional)

A day's folder may carry `SHA256SUMS` (the format of sha256sum): the day then counts once all its files are there with
these digests, and until then it is left out. So is a day, or a catalogue, with a file that cannot be read. Times are
integers (seconds or milliseconds since 1970: below 100,000,000,000 is seconds), ISO 8601 with `Z` or an offset, or
Parquet's zoned times. Lists in CSV are separated by `|`. Names that begin with `.` or `_` are nobody's.
"""

import re
from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby
from typing import ClassVar

import polars as pl

from infra.errors import BadInput
from infra.settings import Settings
from tasks.fetch import list_location, read_text, source_file
from tasks.readers.base import Frames, LeftOut, Listing, LocalFile, Table, Tables, of_table, read_each
from tasks.readers.canonical import EVENT_COLUMNS, VIDEO_COLUMNS, IdTypes, as_csv_id, as_id, conform, require
from tasks.readers.partitions import DAY_SUMS, days_of_files
from tasks.schema import TIMESTAMP, Events, Users, Videos

CATALOGUE_FILE = re.compile(r"(videos|users)(?:/.+)?\.(?:parquet|csv)")
ORDER = (*dict.fromkeys((Events.USER, Events.VIDEO, *EVENT_COLUMNS, *VIDEO_COLUMNS, Events.DAY)),)
NO_EVENTS = pl.DataFrame(
    schema={Events.USER: pl.Null, Events.VIDEO: pl.Null, Events.TIME: TIMESTAMP, Events.DAY: pl.Date}
)


class Files:
    """A source in the canonical contract."""

    partitioned: ClassVar[bool] = True
    label: ClassVar[str] = "files in the canonical contract"

    def __init__(self, location: str, settings: Settings) -> None:
        """Nothing is read yet."""
        self.location, self.settings = location, settings

    def files(self) -> Listing:
        """Days and catalogues by the layout above; days that are half-uploaded are left out."""
        found = list_location(self.location, settings=self.settings)
        if not any(file.name.startswith("events/") for file in found):
            names = ", ".join(file.name for file in found[:10]) or "nothing"
            raise BadInput(f"{self.location} holds no events: days lie in events/YYYY-MM-DD/. Received: {names}")
        sums = [file for file in found if DAY_SUMS.fullmatch(file.name)]
        texts = read_text(sums, settings=self.settings)
        days, left_out = days_of_files(found, dict(zip(sums, texts, strict=True)))
        catalogues = [(file, match[1]) for file in found if (match := CATALOGUE_FILE.fullmatch(file.name))]
        return Listing((*days, *(source_file(file, table) for file, table in catalogues)), tuple(left_out))

    def read(self, files: Sequence[LocalFile], *, through: date | None) -> Tables:
        """Read whole days and whole catalogues; one with an unreadable file is left out. All `files` lie in time."""
        days = _read_groups(of_table(files, "events"), _event_rows)
        videos = _read_groups(of_table(files, "videos"), _video_rows)
        users = _read_groups(of_table(files, "users"), _user_rows)
        ids = IdTypes()
        for read in (days, videos, users):
            for frame, file in zip(read.frames, read.files, strict=True):
                ids.see(frame, uri=file.source.uri)
        return Tables(
            Table(_together([NO_EVENTS, *days.frames]), days.files),
            frozenset(file.source.day for file in days.files if file.source.day),
            videos=Table(_together(videos.frames), videos.files) if videos.frames else None,
            users=Table(_together(users.frames), users.files) if users.frames else None,
            left_out=days.left_out + videos.left_out + users.left_out,
        )


def _read_groups(files: Sequence[LocalFile], read: Callable[[LocalFile], pl.DataFrame]) -> Frames:
    """Read day by day (a catalogue is one group); a group with an unreadable file gives nothing but its left-outs."""
    frames: list[pl.DataFrame] = []
    whole: tuple[LocalFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    for _, group in groupby(files, key=lambda file: file.source.day):
        one = read_each(group, read)
        left_out += one.left_out
        if not one.left_out:
            frames += one.frames
            whole += one.files
    return Frames(frames, whole, left_out)


def _together(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """All rows below each other, canonical columns first and in the contract's order."""
    rows = pl.concat(frames, how="diagonal_relaxed")
    known = [name for name in ORDER if name in rows.columns]
    return rows.select(*known, pl.exclude(known))


def _event_rows(file: LocalFile) -> pl.DataFrame:
    rows = _rows(file, required=Events.REQUIRED, ids=(Events.USER, Events.VIDEO))
    typed = conform(rows, EVENT_COLUMNS, ids=(Events.USER, Events.VIDEO), uri=file.source.uri)
    return typed.with_columns(pl.lit(file.source.day, pl.Date).alias(Events.DAY))


def _video_rows(file: LocalFile) -> pl.DataFrame:
    rows = _rows(file, required=Videos.REQUIRED, ids=(Videos.ID,))
    return conform(rows, VIDEO_COLUMNS, ids=(Videos.ID,), uri=file.source.uri)


def _user_rows(file: LocalFile) -> pl.DataFrame:
    rows = _rows(file, required=Users.REQUIRED, ids=(Users.ID,), attributes=True)
    odd = [name for name, kind in rows.schema.items() if kind.is_nested() or kind in (pl.Binary, pl.Duration)]
    if odd:
        raise BadInput(f"{file.source.uri}: attributes of users are plain. Received: {odd[0]}, {rows.schema[odd[0]]}")
    return rows


def _rows(
    file: LocalFile, *, required: tuple[str, ...], ids: tuple[str, ...], attributes: bool = False
) -> pl.DataFrame:
    """The file's columns with ids typed; of CSV the other columns stay text, unless they are `attributes`."""
    uri = file.source.uri
    if file.path.suffix == ".parquet":
        rows, typed = pl.read_parquet(file.path, hive_partitioning=False, glob=False), as_id
    else:
        rows, typed = _csv(file, dict.fromkeys(ids, pl.String()), attributes=attributes), as_csv_id
    require(rows, required, uri=uri)
    return rows.with_columns(typed(rows[name], uri=uri) for name in ids)


def _csv(file: LocalFile, text: dict[str, pl.DataType], *, attributes: bool) -> pl.DataFrame:
    if not attributes:
        return pl.read_csv(file.path, infer_schema=False, glob=False)
    header = pl.read_csv(file.path, n_rows=0, glob=False).columns
    known = {name: kind for name, kind in text.items() if name in header}
    return pl.read_csv(file.path, infer_schema_length=None, schema_overrides=known, glob=False)
