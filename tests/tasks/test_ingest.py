"""Ingest: the landed files that a night knows, checked and laid out."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from infra.errors import BadInput
from infra.settings import Settings
from tasks.ingest import ingest
from tasks.landing import land, landing_folder
from tests.tasks.sources import DAY, KUAIRAND, NOON, day_csv, needs_kuairand, put

LATE = date(2022, 4, 30)


def run(source: Path, home: Path, *, as_of: date = LATE, kind: str = "files") -> Path:
    """Land and ingest; the folder `raw`."""
    settings = Settings(home=home)
    landed = put(home / "landed.json", land(kind, str(source), name="reel", settings=settings, as_of=as_of).as_json())
    ingest(landed, landing_folder(settings, "reel"), home / "raw")
    return home / "raw"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_landed_files_come_as_they_are(tmp_path: Path) -> None:
    day_csv(tmp_path / "source")
    put(tmp_path / "source/videos.csv", "video_id,title\n10,A\n")
    raw = run(tmp_path / "source", tmp_path / "home")
    files = landing_folder(Settings(home=tmp_path / "home"), "reel") / "files"
    landed = {path.read_bytes() for path in files.iterdir()}
    assert set(tree(raw).values()) == landed
    assert sorted(path.name for path in raw.iterdir()) == ["events", "videos.parquet"]
    assert pl.read_parquet(raw / "events/*.parquet").drop("timestamp").rows() == [(1, 10, DAY)]


def test_of_a_landing_with_more_days_only_the_known_ones_come_and_always_the_same_bytes(tmp_path: Path) -> None:
    day_csv(tmp_path / "source", "2022-04-10")
    day_csv(tmp_path / "source", "2022-04-11")
    run(tmp_path / "source", tmp_path / "home")
    first = tree(run(tmp_path / "source", tmp_path / "home", as_of=DAY))
    assert tree(run(tmp_path / "source", tmp_path / "home", as_of=DAY)) == first
    assert pl.read_parquet(tmp_path / "home/raw/events/*.parquet")["day"].to_list() == [DAY]


def test_a_corrected_day_comes_in_its_newest_version_only(tmp_path: Path) -> None:
    day_csv(tmp_path / "source", "2022-04-10", rows=f"1,10,{NOON}")
    day_csv(tmp_path / "source", "2022-04-11", rows=f"1,11,{NOON}")
    run(tmp_path / "source", tmp_path / "home")
    day_csv(tmp_path / "source", "2022-04-10", rows=f"1,99,{NOON}")
    rows = pl.read_parquet(run(tmp_path / "source", tmp_path / "home") / "events/*.parquet").sort("day")
    assert rows["video_id"].to_list() == [99, 11]


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x")]
)
def test_a_damaged_landed_file_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    day_csv(tmp_path / "source")
    run(tmp_path / "source", tmp_path / "home")
    landing = landing_folder(Settings(home=tmp_path / "home"), "reel")
    file = next(landing.glob("files/*.parquet"))
    damage(file)
    with pytest.raises(BadInput, match=rf"{file.name} must have \d+ bytes with the SHA-256 in its name. Received: "):
        ingest(tmp_path / "home/landed.json", landing, tmp_path / "home/raw")


@needs_kuairand
def test_a_replayed_night_has_the_same_rows_as_one_that_landed_everything(tmp_path: Path) -> None:
    night = date(2022, 4, 10)
    run(KUAIRAND, tmp_path / "all", kind="kuairand", as_of=LATE)
    filtered = run(KUAIRAND, tmp_path / "all", kind="kuairand", as_of=night)
    landed = run(KUAIRAND, tmp_path / "new", kind="kuairand", as_of=night)
    assert_frame_equal(pl.read_parquet(filtered / "events/*.parquet"), pl.read_parquet(landed / "events/*.parquet"))
    assert (filtered / "videos.parquet").read_bytes() == (landed / "videos.parquet").read_bytes()
    assert pl.read_parquet(landed / "events/*.parquet").height == 2817 + 3575 + 3505
