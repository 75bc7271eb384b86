"""The KuaiRand reader on the real excerpt."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from infra.errors import BadInput
from infra.settings import Settings
from tasks.readers.base import Tables
from tasks.readers.kuairand import KuaiRand
from tests.tasks.sources import KUAIRAND, needs_kuairand, put, read_all

# counted with awk over the log's `date` column
DAYS = [2817, 3575, 3505, 3252, 3024, 3170, 3038, 3064, 4573, 3467, 2231, 2277, 2090, 1745]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return read_all(reader(KUAIRAND), tmp_path_factory.mktemp("kuairand"))


def reader(folder: Path) -> KuaiRand:
    return KuaiRand(str(folder), Settings(home=folder))


@needs_kuairand
def test_events_are_the_log_with_beijing_days_and_utc_times(real: Tables) -> None:
    events = real.events.frame
    counts = events.group_by("day").len().sort("day")
    assert counts["day"].to_list() == [date(2022, 4, day) for day in range(8, 22)]
    assert counts["len"].to_list() == DAYS
    first = {
        "user_id": 111, "video_id": 3892024, "timestamp": datetime(2022, 4, 10, 8, 59, 9, 287000, UTC),
        "watch_seconds": 46.186, "liked": True, "disliked": False, "followed": False, "commented": False,
        "shared": False, "day": date(2022, 4, 10),
    }  # fmt: skip
    assert events.row(0, named=True) == first
    assert (events["liked"].sum(), events["disliked"].sum(), events["followed"].sum()) == (33_745, 8_083, 304)


@needs_kuairand
def test_videos_are_those_of_features_and_log(real: Tables) -> None:
    assert real.videos is not None
    assert real.users is not None
    videos = real.videos.frame
    assert (len(videos), videos["video_id"].n_unique()) == (9_359, 9_359)
    assert videos.row(0) == (19, ["39"], 18.366, datetime(2022, 4, 8, 16, tzinfo=UTC), "4143746")
    # only the log knows this one, and gives 45,916 ms
    assert videos.row(by_predicate=pl.col("video_id") == 3892024) == (3892024, None, 45.916, None, None)
    assert videos["duration_seconds"].drop_nulls().min() > 0  # type: ignore[operator]
    assert (len(real.users.frame), real.users.frame.width) == (664, 31)


@needs_kuairand
def test_nothing_after_the_day_is_known(tmp_path: Path, real: Tables) -> None:
    early = read_all(reader(KUAIRAND), tmp_path, through=date(2022, 4, 9))
    assert early.days == {date(2022, 4, 8), date(2022, 4, 9)}
    assert_frame_equal(early.events.frame, real.events.frame.filter(pl.col("day") <= date(2022, 4, 9)))
    assert early.videos is not None
    features = set(pl.read_csv(KUAIRAND / "video_features_basic_excerpt.csv")["video_id"])
    assert set(early.videos.frame["video_id"]) == features | set(early.events.frame["video_id"])


@needs_kuairand
def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    log = pl.read_csv(KUAIRAND / "log_standard_excerpt.csv").drop("is_hate")
    log.write_csv(tmp_path / "log_standard_pure.csv")
    with pytest.raises(BadInput, match=r"log_standard_pure.csv lacks the column is_hate. Received: user_id, video_id"):
        read_all(reader(tmp_path), tmp_path / "in")


@needs_kuairand
def test_a_broken_log_is_left_out_and_the_other_read(tmp_path: Path) -> None:
    shutil.copy(KUAIRAND / "log_standard_excerpt.csv", tmp_path / "log_standard_1.csv")
    header = (KUAIRAND / "log_standard_excerpt.csv").read_text().splitlines()[0]
    put(tmp_path / "log_standard_2.csv", f"{header}\n111,x" + ",1" * 14 + "\n")
    tables = read_all(reader(tmp_path), tmp_path / "in")
    assert len(tables.events.frame) == 41_828
    assert [left.uri for left in tables.left_out] == [str(tmp_path / "log_standard_2.csv")]
    assert "it cannot be read" in tables.left_out[0].reason


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "user_features_pure.csv", "user_id\n1\n")
    with pytest.raises(BadInput, match=r"it needs log_standard\*.csv. Received: user_features_pure.csv"):
        reader(tmp_path).files()
