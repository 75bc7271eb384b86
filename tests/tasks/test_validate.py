import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from infra.errors import Refused
from tasks.params import Validate
from tasks.schema import Events
from tests.tasks.raw_folder import NIGHT, NOON, Night, events, kuairand, movielens
from tests.tasks.sources import needs_kuairand

ROWS = [{"user_id": user, "video_id": video} for user in range(10) for video in range(10)]
VIDEOS = pl.DataFrame({"video_id": list(range(10)), "title": ["é" * 10_000, *"bcdefghij"]})


def test_a_sound_night_leaves_sorted_events_videos_and_users(tmp_path: Path) -> None:
    users = pl.DataFrame({"user_id": [2, 1], "city": ["Oslo", "京都"]})
    metrics = Night(tmp_path).land(events(ROWS[::-1]), videos=VIDEOS, users=users).validate()
    night = Night(tmp_path)
    assert metrics["passed"] is True
    assert metrics["as_of"] == "2024-06-30"
    assert metrics["snapshot_rows"] == 100
    assert metrics["rows"]["events"] == {"raw": 100, "accepted": 100, "quarantined": 0}
    assert metrics["quarantined"] == {}
    assert night.accepted()[Events.USER].is_sorted()
    assert night.accepted("videos").equals(VIDEOS)
    assert night.accepted("users")["user_id"].to_list() == [1, 2]
    assert night.quarantined().columns == [*night.accepted().columns, "reason"]
    assert (tmp_path / "docs/index.html").is_file()


def test_a_source_without_videos_gets_them_from_its_events(tmp_path: Path) -> None:
    metrics = Night(tmp_path).land(events(ROWS)).validate()
    assert Night(tmp_path).accepted("videos").to_dict(as_series=False) == {"video_id": list(range(10))}
    assert "unknown_videos" not in {check["name"] for check in metrics["checks"]}


def test_faulty_rows_go_to_quarantine_with_their_reasons(tmp_path: Path) -> None:
    faulty = [{"user_id": 50, "watch_seconds": float("nan")}, {"user_id": None}, {"user_id": 0, "video_id": 0}]
    metrics = Night(tmp_path).land(events(ROWS + faulty), videos=VIDEOS).validate(Validate(max_quarantined=0.1))
    assert metrics["quarantined"] == {
        "events: user_id is missing": 1,
        "events: watch_seconds is negative, NaN or infinite": 1,
        "events: video_id is not among the accepted videos": 2,
        "events: repeats an earlier row of the same user, video and time": 1,
    }
    assert Night(tmp_path).quarantined()["reason"].to_list() == [
        "watch_seconds is negative, NaN or infinite; video_id is not among the accepted videos",
        "user_id is missing; video_id is not among the accepted videos",
        "repeats an earlier row of the same user, video and time",
    ]


def test_ties_in_time_keep_the_order_of_the_log_however_files_are_named(tmp_path: Path) -> None:
    early = [{"user_id": 1, "video_id": video, "timestamp": NOON - timedelta(days=1)} for video in (3, 1)]
    early = [{**row, "day": NIGHT - timedelta(days=1)} for row in early]
    late = [{"user_id": 1, "video_id": video} for video in (9, 7)]
    for name, files in {"a": [events(early), events(late)], "b": [events(late), events(early)]}.items():
        Night(tmp_path / name).land(*files).validate()
        assert Night(tmp_path / name).accepted()[Events.VIDEO].to_list() == [3, 1, 9, 7]


def refused(night: Night, params: Validate | None = None) -> str:
    with pytest.raises(Refused) as caught:
        night.validate(params)
    assert night.metrics["passed"] is False
    assert (night.root / "docs/index.html").is_file()
    assert list((night.root / "accepted").iterdir()) == []
    return str(caught.value)


def test_too_many_quarantined_rows_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    night = Night(tmp_path).land(events([*ROWS, *[{"watch_seconds": -1.0}] * 25]))
    assert refused(night) == (
        "The data is not fit to train on: quarantined_events must be at most 0.05 (share of the rows of events in "
        f"quarantine). Received: 0.2. See {tmp_path / 'docs/index.html'}"
    )
    assert night.quarantined().height == 25


def test_too_many_events_of_unknown_videos_stop_the_run(tmp_path: Path) -> None:
    night = Night(tmp_path).land(events(ROWS), videos=VIDEOS.head(9))
    assert "unknown_videos must be at most 0.05" in refused(night)
    assert night.check("unknown_videos")["observed"] == 0.1


def test_no_events_at_all_stop_the_run(tmp_path: Path) -> None:
    assert "raw_events must be at least 1 (events that landed up to 2024-06-30). Received: 0" in refused(
        Night(tmp_path).land(videos=VIDEOS)
    )
    assert "raw_events must be at least 1" in refused(Night(tmp_path / "empty").land(events([])))


def test_a_table_that_is_all_faulty_stops_the_run(tmp_path: Path) -> None:
    night = Night(tmp_path).land(events([{"user_id": None}]))
    assert "quarantined_events" in refused(night)
    assert "accepted_events must be at least 1" in refused(night, Validate(max_quarantined=1.0))
    assert "accepted_videos must be at least 1" in refused(
        Night(tmp_path / "videos").land(
            events(ROWS), videos=pl.DataFrame({"video_id": [None]}, schema={"video_id": pl.Int64})
        ),
        Validate(max_quarantined=1.0, max_unknown_videos=1.0),
    )


def test_stale_data_stops_the_run(tmp_path: Path) -> None:
    night = Night(tmp_path, as_of=NIGHT + timedelta(days=4)).land(events(ROWS))
    assert "age_days must be at most 3 (days from the newest event to 2024-07-04). Received: 4" in refused(night)
    night.validate(Validate(max_age_days=4))


def test_a_day_cut_short_stops_the_run(tmp_path: Path) -> None:
    before = [
        {**row, "day": NIGHT - timedelta(days=ago), "timestamp": NOON - timedelta(days=ago)}
        for ago in (1, 2)
        for row in ROWS
    ]
    night = Night(tmp_path).land(events([*before, *ROWS[:9]]))
    assert "volume_ratio must be 0.3 to 4" in refused(night, Validate(min_day_rows=100))
    assert night.check("volume_ratio")["observed"] == 0.09
    assert night.validate()["passed"] is True
    assert night.check("volume_ratio")["reason"] == "too few rows to tell"


def test_drift_stops_the_run(tmp_path: Path) -> None:
    before = [
        {**row, "liked": False, "day": NIGHT - timedelta(days=ago), "timestamp": NOON - timedelta(days=ago)}
        for ago in (1, 2)
        for row in ROWS
    ]
    night = Night(tmp_path).land(events([*before, *[{**row, "liked": True} for row in ROWS]]))
    assert "drift_liked must be at most 0.5" in refused(night, Validate(min_day_rows=100))
    assert night.check("drift_hour")["observed"] == 0.0


@pytest.mark.parametrize(
    ("files", "videos", "sentence"),
    [
        ([events(ROWS).drop("video_id")], None, "events lacks the column video_id"),
        ([events(ROWS).drop("day")], None, "events lacks the column day"),
        ([events(ROWS).with_columns(mood=1)], None, "events has an unknown column mood"),
        ([events(ROWS).with_columns(pl.col("user_id").cast(pl.Float64))], None, "ids of type Float64 in user_id"),
        (
            [events(ROWS).with_columns(pl.col("timestamp").dt.replace_time_zone(None))],
            None,
            "in timestamp, which must be Datetime(time_unit='ms', time_zone='UTC')",
        ),
        (
            [events(ROWS), events(ROWS, user_id=pl.Int64()).with_columns(pl.col("user_id").cast(pl.String))],
            None,
            "events has Int64 and String in user_id, depending on the file",
        ),
        ([events(ROWS)], VIDEOS.cast({"video_id": pl.String}), "video_id is String in videos and Int64 in events"),
    ],
)  # fmt: skip
def test_tables_that_break_the_contract_stop_the_run(
    tmp_path: Path, files: list[pl.DataFrame], videos: pl.DataFrame | None, sentence: str
) -> None:
    message = refused(Night(tmp_path).land(*files, videos=videos))
    assert sentence in message
    assert "schema must be at most 0" in message


def test_files_may_differ_in_optional_columns(tmp_path: Path) -> None:
    Night(tmp_path).land(events(ROWS[:50]), events([{**row, "liked": True} for row in ROWS[50:]])).validate()
    assert Night(tmp_path).accepted()["liked"].null_count() == 50


def test_nothing_reaches_the_terminal_and_nothing_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    Night(tmp_path / "night").land(events(ROWS), videos=VIDEOS).validate()
    assert capfd.readouterr() == ("", "")
    assert [*(tmp_path / "cwd").iterdir(), *(tmp_path / "tmp").iterdir()] == []


def test_a_second_run_leaves_the_same_bytes(tmp_path: Path) -> None:
    night = Night(tmp_path).land(events(ROWS), videos=VIDEOS)
    night.validate()
    first = {name: (tmp_path / name).read_bytes() for name in ("accepted/events.parquet", "validation.json")}
    night.validate()
    assert first == {name: (tmp_path / name).read_bytes() for name in first}


def test_movielens_passes_with_too_few_rows_a_day_for_drift(tmp_path: Path) -> None:
    ratings, films = movielens(tmp_path / "source")
    night = Night(tmp_path, as_of=date(2016, 10, 16)).land(ratings, videos=films)
    assert night.validate()["rows"] == {
        "events": {"raw": 100_004, "accepted": 100_004, "quarantined": 0},
        "videos": {"raw": 9_066, "accepted": 9_066, "quarantined": 0},
    }
    assert night.check("drift")["reason"] == "too few rows to tell"
    assert night.check("age_days")["observed"] == 0


@needs_kuairand
def test_kuairand_passes_on_its_last_day_with_its_repeats_in_quarantine(tmp_path: Path) -> None:
    log, videos = kuairand(tmp_path / "source")
    night = Night(tmp_path, as_of=date(2022, 4, 21)).land(log, videos=videos)
    metrics = night.validate()
    assert metrics["rows"]["events"] == {"raw": 41_828, "accepted": 41_704, "quarantined": 124}
    assert metrics["quarantined"] == {"events: repeats an earlier row of the same user, video and time": 124}
    assert 0.5 < night.check("volume_ratio")["observed"] < 0.6
    assert night.check("drift_hour")["observed"] < 0.1


@needs_kuairand
def test_a_log_in_a_local_time_ahead_of_utc_has_its_future_rows_in_quarantine(tmp_path: Path) -> None:
    log, videos = kuairand(tmp_path / "source")
    local = log.with_columns(pl.col("timestamp") + timedelta(hours=9))
    night = Night(tmp_path, as_of=date(2022, 4, 21)).land(local, videos=videos)
    future = local.filter(pl.col("timestamp") >= datetime(2022, 4, 22, tzinfo=UTC)).height
    assert future > 0
    night.validate()
    assert night.metrics["quarantined"]["events: timestamp is after 2022-04-21, the day of this snapshot"] == future


def test_reading_the_module_needs_no_great_expectations() -> None:
    code = "import sys, tasks.validate; sys.exit('great_expectations' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
