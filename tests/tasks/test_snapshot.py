from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tasks.drift import drifts, stability_index
from tasks.params import Validate
from tasks.schema import Events
from tasks.snapshot import TOO_FEW, Check, event_checks
from tests.tasks.raw_folder import NIGHT, NOON, events


def days(*rows: int, liked: float = 0.5) -> pl.DataFrame:
    """So many events a day, the last on the night; the share `liked` is that of the last day, before it half."""
    made = []
    for ago, count in enumerate(reversed(rows)):
        share = liked if ago == 0 else 0.5
        made += [
            {
                "timestamp": NOON - timedelta(days=ago),
                "day": NIGHT - timedelta(days=ago),
                "liked": at < share * count,
                "user_id": at,
            }
            for at in range(count)
        ]
    return events(made)


def figures(table: pl.DataFrame, params: Validate, as_of: date = NIGHT) -> dict[str, float | None]:
    return {check.name: check.observed for check in event_checks(table, as_of=as_of, params=params)}


def test_volume_is_the_newest_day_to_the_median_of_the_days_before() -> None:
    found = figures(days(100, 300, 200, 50), Validate(min_day_rows=10))
    assert found["volume_ratio"] == 0.25


def test_a_newest_day_that_is_nearly_empty_is_still_held_against_big_days_before() -> None:
    found = figures(days(100, 100, 3), Validate(min_day_rows=50))
    assert found["volume_ratio"] == 0.03
    assert found["drift"] is None


@pytest.mark.parametrize("table", [days(100, 100), days(9, 9, 100), days(100)])
def test_too_few_days_or_rows_before_skip_volume_and_drift(table: pl.DataFrame) -> None:
    checks = {check.name: check for check in event_checks(table, as_of=NIGHT, params=Validate(min_day_rows=10))}
    assert checks["volume_ratio"].observed is None
    assert checks["drift"].observed is None
    assert checks["volume_ratio"].reason == checks["drift"].reason == TOO_FEW


def test_a_day_with_no_events_is_left_out_of_the_median() -> None:
    table = days(100, 100, 0, 200)
    assert figures(table, Validate(min_day_rows=10))["volume_ratio"] == 2.0


def test_only_trailing_days_count() -> None:
    assert figures(days(1000, 100, 100, 100), Validate(min_day_rows=10, trailing_days=2))["volume_ratio"] == 1.0


def test_age_is_counted_from_the_night() -> None:
    assert figures(days(5), Validate(), as_of=NIGHT + timedelta(days=9))["age_days"] == 9


def test_drift_of_a_flag_is_its_stability_index_and_an_unchanged_hour_has_none() -> None:
    found = figures(days(100, 100, 100, liked=0.9), Validate(min_day_rows=10))
    new, old = np.array([10.5, 90.5]) / 101, np.array([100.5, 100.5]) / 201
    assert found["drift_liked"] == pytest.approx(float(((new - old) * np.log(new / old)).sum()), abs=1e-12)
    assert found["drift_hour"] == 0.0


def test_the_stability_index_by_hand() -> None:
    # Shares 0.25, 0.75 to 0.75, 0.25 after half a row is added: 2 * 0.5 * ln 3.
    assert stability_index(np.array([0, 1]), np.array([1, 0])) == pytest.approx(np.log(3))
    assert stability_index(np.array([4, 0, 6]), np.array([4, 0, 6])) == 0.0


def test_a_column_that_stops_being_filled_drifts() -> None:
    before = events([{"watch_seconds": float(at)} for at in range(100)])
    after = events([{"watch_seconds": None}] * 100, watch_seconds=pl.Float64())
    assert drifts(after, before)[Events.WATCH_SECONDS] > 5
    assert drifts(before, after)[Events.WATCH_SECONDS] > 5
    assert drifts(before, before)[Events.WATCH_SECONDS] == 0.0


def test_bounds_in_words() -> None:
    assert Check("x", 1, None, 0.05, "").bound == "at most 0.05"
    assert Check("x", 1, 1, None, "").bound == "at least 1"
    assert Check("x", 1, 0.3, 4.0, "").bound == "0.3 to 4"
