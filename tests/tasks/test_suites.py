"""The suites fail on each fault when quarantine does not stand before them."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tasks.datadocs import hold_rows, hold_snapshot, quiet_context
from tasks.snapshot import Check
from tests.tasks.raw_folder import NIGHT, events

SOUND = {"watch_seconds": 1.0, "rating": 3.0}


def broken(docs: Path, table: str, frame: pl.DataFrame) -> set[tuple[str, str]]:
    outcomes = hold_rows(quiet_context(docs), table, frame, as_of=NIGHT)
    return {(outcome.expectation, outcome.columns) for outcome in outcomes if not outcome.passed}


@pytest.mark.parametrize(
    ("row", "expectation", "columns"),
    [
        ({"user_id": None}, "expect_column_values_to_not_be_null", "user_id"),
        ({"video_id": None}, "expect_column_values_to_not_be_null", "video_id"),
        ({"timestamp": None}, "expect_column_values_to_not_be_null", "timestamp"),
        ({"timestamp": datetime(2024, 7, 1, tzinfo=UTC)}, "expect_column_values_to_be_between", "timestamp"),
        ({"timestamp": datetime(1989, 1, 1, tzinfo=UTC)}, "expect_column_values_to_be_between", "timestamp"),
        ({"watch_seconds": -1.0}, "expect_column_values_to_be_between", "watch_seconds"),
        ({"watch_seconds": float("inf")}, "expect_column_values_to_be_between", "watch_seconds"),
        ({"rating": float("-inf")}, "expect_column_values_to_be_between", "rating"),
        ({"video_id": 9}, "expect_compound_columns_to_be_unique", "user_id, video_id, timestamp"),
    ],
)
def test_each_event_fault_breaks_its_expectation(
    tmp_path: Path, row: dict[str, object], expectation: str, columns: str
) -> None:
    assert broken(tmp_path, "events", events([SOUND | {"video_id": 9}, SOUND | row])) == {(expectation, columns)}


def test_faults_of_videos_and_users_break_theirs(tmp_path: Path) -> None:
    videos = pl.DataFrame({"video_id": ["a", "a", None], "duration_seconds": [-1.0, 1.0, 1.0]})
    assert broken(tmp_path, "videos", videos) == {
        ("expect_column_values_to_not_be_null", "video_id"),
        ("expect_column_values_to_be_unique", "video_id"),
        ("expect_column_values_to_be_between", "duration_seconds"),
    }
    users = pl.DataFrame({"user_id": [1, 1]})
    assert broken(tmp_path, "users", users) == {("expect_column_values_to_be_unique", "user_id")}


def test_sound_rows_of_string_ids_break_nothing(tmp_path: Path) -> None:
    rows = [{"user_id": "é", "video_id": "x" * 10_000}, {"user_id": "é", "video_id": "y"}]
    assert broken(tmp_path, "events", events(rows, user_id=pl.String(), video_id=pl.String())) == set()


def test_snapshot_checks_pass_fail_or_are_skipped(tmp_path: Path) -> None:
    checks = [
        Check("kept", 0.05, None, 0.05, "at its bound"),
        Check("high", 0.06, None, 0.05, "above"),
        Check("low", 0.2, 0.3, 4.0, "below"),
        Check("skipped", None, None, 1.0, "too few rows to tell"),
    ]
    found = hold_snapshot({}, checks, tmp_path / "docs", as_of=NIGHT)
    assert [check["passed"] for check in found] == [True, False, False, True]
    assert found[1] == {"name": "high", "observed": 0.06, "bound": "at most 0.05", "passed": False, "reason": "above"}
    assert (tmp_path / "docs/index.html").is_file()
