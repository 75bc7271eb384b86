"""Small sources in the canonical contract, and where the real data lies."""

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from infra.settings import Settings
from tasks.fetch import bring, hash_local
from tasks.readers.base import Reader, Tables

DATA = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data"))
KUAIRAND = DATA / "kuairand"
CLIPS = DATA / "clips"
needs_kuairand = pytest.mark.skipif(not KUAIRAND.is_dir(), reason=f"no KuaiRand excerpt in {KUAIRAND} (NIGHTREEL_DATA)")
DAY = date(2022, 4, 10)
NOON = "2022-04-10T12:00:00Z"
HEADER = "user_id,video_id,timestamp"


def put(path: Path, text: str) -> Path:
    """Write a text file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def day_csv(source: Path, day: str = "2022-04-10", rows: str = f"1,10,{NOON}", *, header: str = HEADER) -> Path:
    """`events/<day>/part-0.csv` with these rows."""
    return put(source / "events" / day / "part-0.csv", f"{header}\n{rows}\n")


def day_parquet(source: Path, frame: pl.DataFrame, day: str = "2022-04-10", name: str = "part-0.parquet") -> Path:
    """`events/<day>/<name>` with the rows of `frame`."""
    path = source / "events" / day / name
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return path


def read_all(reader: Reader, into: Path, *, through: date | None = None) -> Tables:
    """List, fetch and read a whole source without a landing store."""
    files, broken = hash_local(reader.files().files)
    copies, lost = bring(files, into=into, settings=Settings(home=into))
    assert not broken
    assert not lost
    return reader.read(copies, through=through)


needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"no clips in {CLIPS} (NIGHTREEL_DATA)")
