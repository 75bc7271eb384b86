"""KuaiRand: the official files `log_standard*.csv`, `user_features*.csv` and `video_features_basic*.csv` of one folder.

`time_ms` is UTC; `date` and `upload_dt` are Beijing dates, and the log's own `date` is the partition. Catalogue: every
video of the features or of the log; a duration that the features lack is the longest that the log gives.
"""

from collections.abc import Sequence
from datetime import date
from fnmatch import fnmatch
from typing import ClassVar

import polars as pl

from infra.errors import BadInput
from infra.settings import Settings
from tasks.fetch import list_location, source_file
from tasks.readers.base import Listing, LocalFile, Table, Tables, of_table, read_each
from tasks.readers.official import days_of, known_by, read_picked, snapshot
from tasks.schema import TIMESTAMP, Events, Users, Videos

PATTERNS = {"log_standard*.csv": "events", "video_features_basic*.csv": "videos", "user_features*.csv": "users"}
FLAGS = {
    "is_like": Events.LIKED,
    "is_hate": Events.DISLIKED,
    "is_follow": Events.FOLLOWED,
    "is_comment": Events.COMMENTED,
    "is_forward": Events.SHARED,
}
LOG: dict[str, pl.DataType] = {
    "user_id": pl.Int64(),
    "video_id": pl.Int64(),
    "date": pl.Int64(),
    "time_ms": pl.Int64(),
    "play_time_ms": pl.Float64(),
    "duration_ms": pl.Float64(),
    **dict.fromkeys(FLAGS, pl.Int64()),
}
FEATURES: dict[str, pl.DataType] = {
    "video_id": pl.Int64(),
    "author_id": pl.Int64(),
    "upload_dt": pl.String(),
    "video_duration": pl.Float64(),
    "tag": pl.String(),
}
# polars divides by multiplying with the reciprocal, which is off by a bit: hence the rounding below.
MS = 1000.0


class KuaiRand:
    """A folder of KuaiRand (its `data/`), here or on S3."""

    partitioned: ClassVar[bool] = False
    label: ClassVar[str] = "a KuaiRand folder"

    def __init__(self, location: str, settings: Settings) -> None:
        """Nothing is read yet."""
        self.location, self.settings = location, settings

    def files(self) -> Listing:
        """Logs and features, by name."""
        found = list_location(self.location, settings=self.settings)
        picked = [source_file(f, table) for glob, table in PATTERNS.items() for f in found if fnmatch(f.name, glob)]
        if not any(file.table == "events" for file in picked):
            names = ", ".join(sorted(file.name for file in found)[:10]) or "an empty folder"
            raise BadInput(f"{self.location} holds no KuaiRand log: it needs log_standard*.csv. Received: {names}")
        return Listing(tuple(picked))

    def read(self, files: Sequence[LocalFile], *, through: date | None) -> Tables:
        """Read logs and features; videos are those of the features and of the log up to `through`."""
        log, logged = read_picked(of_table(files, "events"), LOG)
        features, featured = read_picked(of_table(files, "videos"), FEATURES)
        people = read_each(of_table(files, "users"), _user_features)
        known = known_by(_with_day(log), through)
        events = _events(known)
        return Tables(
            Table(events, logged.files),
            days_of(events),
            videos=Table(_videos(features, known), logged.files + featured.files),
            users=snapshot(people),
            left_out=logged.left_out + featured.left_out + people.left_out,
        )


def _with_day(log: pl.DataFrame) -> pl.DataFrame:
    return log.with_columns(pl.col("date").cast(pl.String).str.to_date("%Y%m%d", strict=False).alias(Events.DAY))


def _events(log: pl.DataFrame) -> pl.DataFrame:
    return log.select(
        pl.col("user_id").alias(Events.USER),
        pl.col("video_id").alias(Events.VIDEO),
        pl.from_epoch("time_ms", time_unit="ms").cast(TIMESTAMP).alias(Events.TIME),
        (pl.col("play_time_ms") / MS).round(3).alias(Events.WATCH_SECONDS),
        *((pl.col(flag) == 1).alias(name) for flag, name in FLAGS.items()),
        Events.DAY,
    )


def _videos(features: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """`features`, the official columns; `log`, which names further videos. Sorted by id."""
    longest = log.group_by("video_id").agg(pl.col("duration_ms").max().alias("logged_ms"))
    joined = features.join(longest, on="video_id", how="full", coalesce=True).sort("video_id", maintain_order=True)
    given = pl.when(pl.col("video_duration") > 0).then(pl.col("video_duration"))
    logged = pl.when(pl.col("logged_ms") > 0).then(pl.col("logged_ms"))
    return joined.select(
        pl.col("video_id").alias(Videos.ID),
        pl.col("tag").str.split(",").alias(Videos.TAGS),
        (given.fill_null(logged) / MS).round(3).alias(Videos.DURATION_SECONDS),
        _beijing_midnight("upload_dt").alias(Videos.UPLOADED_AT),
        pl.col("author_id").cast(pl.String).alias(Videos.AUTHOR),
    )


def _beijing_midnight(column: str) -> pl.Expr:
    return (
        pl.col(column)
        .str.to_datetime("%Y-%m-%d", time_unit="ms", strict=False)
        .dt.replace_time_zone("Asia/Shanghai")
        .dt.convert_time_zone("UTC")
    )


def _user_features(file: LocalFile) -> pl.DataFrame:
    features = pl.read_csv(file.path, infer_schema_length=None, glob=False)
    if "user_id" not in features.columns:
        raise BadInput(f"{file.source.uri} lacks the column user_id. Received: {', '.join(features.columns)}")
    return features.rename({"user_id": Users.ID})
