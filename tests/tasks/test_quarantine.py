from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.quarantine import (
    EVENT_KEY,
    REASON,
    USER_KEY,
    VIDEO_KEY,
    Separated,
    event_rules,
    separate,
    user_rules,
    video_rules,
)
from tasks.schema import Events
from tests.tasks.raw_folder import NIGHT, NOON, events, kuairand, movielens
from tests.tasks.sources import needs_kuairand

NAN, INF = float("nan"), float("inf")
REPEAT = "repeats an earlier row of the same user, video and time"


def part(table: pl.DataFrame, known: list[int] | None = None, as_of: date = NIGHT) -> Separated:
    known_videos = None if known is None else pl.Series(known, dtype=pl.Int64)
    return separate(table, event_rules(table.columns, as_of=as_of, known_videos=known_videos), EVENT_KEY)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"user_id": None}, "user_id is missing"),
        ({"video_id": None}, "video_id is missing"),
        ({"timestamp": None}, "timestamp is missing"),
        ({"day": None}, "day is missing"),
        ({"timestamp": datetime(2024, 7, 1, tzinfo=UTC)}, "timestamp is after 2024-06-30, the day of this snapshot"),
        ({"timestamp": datetime(1989, 12, 31, tzinfo=UTC)}, "timestamp is before 1990"),
        ({"watch_seconds": -0.5}, "watch_seconds is negative, NaN or infinite"),
        ({"watch_seconds": NAN}, "watch_seconds is negative, NaN or infinite"),
        ({"watch_seconds": INF}, "watch_seconds is negative, NaN or infinite"),
        ({"rating": NAN}, "rating is NaN or infinite"),
        ({"rating": -INF}, "rating is NaN or infinite"),
        ({"video_id": 99}, "video_id is not among the accepted videos"),
        ({"user_id": None, "watch_seconds": -1.0}, "user_id is missing; watch_seconds is negative, NaN or infinite"),
    ],
)
def test_a_faulty_event_carries_all_its_reasons(row: dict[str, object], reason: str) -> None:
    parted = part(events([{"watch_seconds": 1.0, "rating": 4.0}, row]), known=[10])
    assert parted.accepted.height == 1
    assert parted.quarantined[REASON].to_list() == [reason]


def test_the_last_millisecond_of_the_night_and_absent_measures_are_sound() -> None:
    last = datetime(2024, 6, 30, 23, 59, 59, 999_000, tzinfo=UTC)
    parted = part(events([{"timestamp": last, "watch_seconds": None, "rating": None}, {"watch_seconds": 0.0}]))
    assert parted.accepted.height == 2


def test_without_a_catalogue_no_video_is_unknown() -> None:
    assert part(events([{"video_id": 99}])).accepted.height == 1


def test_of_repeated_rows_the_first_in_the_file_stays() -> None:
    rows = [{"watch_seconds": 1.0}, {"video_id": 11}, {"watch_seconds": 2.0}, {"watch_seconds": 3.0}]
    parted = part(events(rows))
    assert parted.accepted[Events.WATCH_SECONDS].to_list() == [1.0, None]
    assert parted.quarantined[Events.WATCH_SECONDS].to_list() == [2.0, 3.0]
    assert parted.counts == {REPEAT: 2}


def test_a_faulty_row_does_not_drive_out_the_sound_row_that_repeats_it() -> None:
    parted = part(events([{"watch_seconds": -1.0}, {"watch_seconds": 5.0}]))
    assert parted.accepted[Events.WATCH_SECONDS].to_list() == [5.0]
    assert parted.faults["duplicate"] == 0


def test_accepted_events_are_sorted_by_user_and_time_with_ties_in_file_order() -> None:
    later = NOON + timedelta(seconds=1)
    rows = [(2, 5, NOON), (1, 9, later), (1, 8, NOON), (1, 7, later), (1, 6, NOON)]
    parted = part(events([{"user_id": user, "video_id": video, "timestamp": time} for user, video, time in rows]))
    assert parted.accepted.select("user_id", "video_id").rows() == [(1, 8), (1, 6), (1, 9), (1, 7), (2, 5)]


def test_string_ids_of_any_script_are_parted_alike() -> None:
    rows = [
        {"user_id": "zoë", "video_id": "视频"},
        {"user_id": "zoë", "video_id": "视频"},
        {"user_id": None, "video_id": "x"},
    ]
    parted = part(events(rows, user_id=pl.String(), video_id=pl.String()))
    assert parted.accepted.select("user_id", "video_id").rows() == [("zoë", "视频")]
    assert parted.quarantined[REASON].to_list() == [REPEAT, "user_id is missing"]


def test_faults_of_videos_and_users() -> None:
    videos = pl.DataFrame({"video_id": [3, 1, 1, None, 4], "duration_seconds": [NAN, 1.0, 2.0, 1.0, -1.0]})
    parted = separate(videos, video_rules(videos.columns), VIDEO_KEY)
    assert parted.accepted.rows() == [(1, 1.0)]
    duration = "duration_seconds is negative, NaN or infinite"
    repeat = "repeats an earlier row of the same video_id"
    assert parted.quarantined[REASON].to_list() == [duration, repeat, "video_id is missing", duration]
    users = pl.DataFrame({"user_id": ["b", "a", None, "b"]})
    assert separate(users, user_rules(users.columns), USER_KEY).accepted["user_id"].to_list() == ["a", "b"]


row = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([None, 1, 2]),
        "video_id": st.sampled_from([None, 10, 11, 99]),
        "timestamp": st.sampled_from([None, NOON, NOON + timedelta(days=1), NOON - timedelta(days=20000)]),
        "watch_seconds": st.sampled_from([None, 1.0, -1.0, NAN, INF]),
    }
)


def _key(cells: tuple[object, ...]) -> tuple[str, ...]:
    return tuple(map(repr, cells))


@given(st.lists(row, max_size=40))
def test_no_row_is_lost_or_made_and_each_quarantined_row_has_a_reason(rows: list[dict[str, object]]) -> None:
    table = events(rows, watch_seconds=pl.Float64())
    parted = part(table, known=[10, 11])
    both = [*parted.accepted.rows(), *parted.quarantined.drop(REASON).rows()]
    assert Counter(map(_key, both)) == Counter(map(_key, table.rows()))
    assert parted.quarantined[REASON].null_count() == 0
    assert (parted.quarantined[REASON] != "").all()
    keys = parted.accepted.select(EVENT_KEY.columns)
    assert keys.n_unique() == keys.height
    assert keys.null_count().sum_horizontal().item() == 0


@needs_kuairand
def test_kuairand_has_124_repeats_and_nothing_else_to_quarantine(tmp_path: Path) -> None:
    log, videos = kuairand(tmp_path)
    parted = part(log, known=videos["video_id"].to_list(), as_of=date(2022, 4, 21))
    assert parted.counts == {REPEAT: 124}
    assert parted.accepted.height == 41_828 - 124


def test_movielens_has_nothing_to_quarantine(tmp_path: Path) -> None:
    ratings, films = movielens(tmp_path)
    parted = part(ratings, known=films["video_id"].to_list(), as_of=date(2016, 10, 16))
    assert (parted.accepted.height, parted.counts) == (100_004, {})
