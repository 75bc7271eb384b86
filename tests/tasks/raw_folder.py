"""What ingest would have left, written straight from frames; and the stages run on it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from tasks.params import Prepare, Validate
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.readers.base import Tables
from tasks.readers.kuairand import KuaiRand
from tasks.readers.movielens import MovieLensSample
from tasks.schema import TIMESTAMP, Events
from tasks.stage import read_json
from tasks.validate import validate
from tests.tasks.sources import KUAIRAND, read_all

NIGHT = date(2024, 6, 30)
NOON = datetime(2024, 6, 30, 12, tzinfo=UTC)


def events(rows: Sequence[Mapping[str, Any]], **more: pl.DataType) -> pl.DataFrame:
    """Events with a type for each column; `user_id`, `video_id`, `timestamp` (noon) and `day` have defaults."""
    schema = {Events.USER: pl.Int64(), Events.VIDEO: pl.Int64(), Events.TIME: TIMESTAMP, Events.DAY: pl.Date()}
    base = {Events.USER: 1, Events.VIDEO: 10, Events.TIME: NOON, Events.DAY: NIGHT}
    named = {column for row in rows for column in row} & Events.OPTIONAL.keys()
    schema |= {column: Events.OPTIONAL[column] for column in sorted(named)} | more
    return pl.DataFrame([{**base, **row} for row in rows], schema=schema)


def movielens(into: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and videos of the MovieLens sample, read as the night reads them."""
    return _frames(read_all(MovieLensSample(), into))


def kuairand(into: Path, *, through: date | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events and videos of the KuaiRand excerpt."""
    from infra.settings import Settings

    return _frames(read_all(KuaiRand(str(KUAIRAND), Settings(home=into)), into, through=through))


def _frames(tables: Tables) -> tuple[pl.DataFrame, pl.DataFrame]:
    assert tables.videos is not None
    return tables.events.frame, tables.videos.frame


@dataclass(frozen=True)
class Night:
    """One night's folders under `root`."""

    root: Path
    as_of: date = NIGHT

    def land(
        self, *files: pl.DataFrame, videos: pl.DataFrame | None = None, users: pl.DataFrame | None = None
    ) -> "Night":
        """Write what ingest would: one Parquet file for each of `files`."""
        (self.root / "raw/events").mkdir(parents=True, exist_ok=True)
        for at, frame in enumerate(files):
            frame.write_parquet(self.root / f"raw/events/{at:02}.parquet")
        for name, table in (("videos", videos), ("users", users)):
            if table is not None:
                table.write_parquet(self.root / f"raw/{name}.parquet")
        (self.root / "landed.json").write_text(json.dumps({"as_of": str(self.as_of), "parts": []}))
        return self

    def validate(self, params: Validate | None = None) -> dict[str, Any]:
        """Run validate; its metrics."""
        at = self.root
        folders = (at / name for name in ("raw", "landed.json", "accepted", "quarantine", "docs", "validation.json"))
        validate(*folders, params=params or Validate())
        return self.metrics

    def prepare(self, params: Prepare, *, seed: int = 1) -> Prepared:
        """Run prepare; what it left."""
        prepare(self.root / "accepted", self.root / "prepared", self.root / "prepare.json", params=params, seed=seed)
        return Prepared(self.root / "prepared")

    @property
    def metrics(self) -> dict[str, Any]:
        """What validate measured."""
        return read_json(self.root / "validation.json")

    def check(self, name: str) -> dict[str, Any]:
        """One check of validate."""
        (found,) = (check for check in self.metrics["checks"] if check["name"] == name)
        assert isinstance(found, dict)
        return found

    def accepted(self, table: str = "events") -> pl.DataFrame:
        """Accepted rows."""
        return pl.read_parquet(self.root / f"accepted/{table}.parquet")

    def quarantined(self, table: str = "events") -> pl.DataFrame:
        """Quarantined rows."""
        return pl.read_parquet(self.root / f"quarantine/{table}.parquet")
