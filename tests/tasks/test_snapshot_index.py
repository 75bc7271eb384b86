"""The index of tonight's snapshot holds every id of every table, accepted or not, and nothing else."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from tasks.params import Validate
from tasks.snapshot_index import index_snapshot
from tests.tasks.raw_folder import NOON, Night, events

LENIENT = Validate(max_quarantined=1.0, max_unknown_videos=1.0)


def index_of(night: Night) -> dict[str, list[int | str]]:
    index_snapshot(night.root / "accepted", night.root / "quarantine", night.root / "index")
    return {name: pl.read_parquet(night.root / f"index/{name}.parquet")["id"].to_list() for name in ("users", "videos")}


def test_it_holds_viewers_and_videos_of_all_tables(tmp_path: Path) -> None:
    log = events(
        [
            {"user_id": 2, "video_id": 10},
            {"user_id": 1, "video_id": 10},
            {"user_id": 1, "video_id": 11},
            {"user_id": 3, "video_id": 12, "timestamp": NOON + timedelta(days=9)},  # in the future
            {"user_id": 4, "video_id": 99},  # unknown
            {"user_id": None, "video_id": 10},
        ]
    )
    videos = pl.DataFrame({"video_id": [10, 11, 12, 13, 13, None], "title": list("abcdef")})
    users = pl.DataFrame({"user_id": [1, 2, 7], "city": ["x", "y", "z"]})
    night = Night(tmp_path).land(log, videos=videos, users=users)
    night.validate(LENIENT)
    assert night.quarantined().height == 3
    assert index_of(night) == {"users": [1, 2, 3, 4, 7], "videos": [10, 11, 12, 13, 99]}


def test_without_catalogues_the_events_say_it_all(tmp_path: Path) -> None:
    log = pl.DataFrame(
        {
            "user_id": ["b", "a", "b"],
            "video_id": ["y", "x", "y"],
            "timestamp": [NOON] * 3,
            "day": [NOON.date()] * 3,
        },
        schema_overrides={"timestamp": pl.Datetime("ms", "UTC")},
    )
    night = Night(tmp_path).land(log)
    night.validate(LENIENT)
    assert night.quarantined().height == 1
    assert index_of(night) == {"users": ["a", "b"], "videos": ["x", "y"]}


def test_equal_snapshots_have_equal_indexes_whatever_the_order(tmp_path: Path) -> None:
    log = events([{"user_id": user, "video_id": user % 7} for user in range(500)])
    for name, rows in {"one": log, "two": log.sample(fraction=1.0, shuffle=True, seed=3)}.items():
        night = Night(tmp_path / name).land(rows)
        night.validate()
        index_of(night)
    for file in ("users.parquet", "videos.parquet"):
        assert (tmp_path / "one/index" / file).read_bytes() == (tmp_path / "two/index" / file).read_bytes()
