"""What Great Expectations is to hold true: the suites as code, for rows that were accepted and for the snapshot."""

import sys
from collections.abc import Sequence
from datetime import date

import polars as pl
from great_expectations import ExpectationSuite
from great_expectations.expectations import (
    ExpectColumnMaxToBeBetween,
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeUnique,
    ExpectColumnValuesToNotBeNull,
    ExpectCompoundColumnsToBeUnique,
)
from great_expectations.expectations.expectation import Expectation

from tasks.quarantine import EARLIEST, day_end
from tasks.schema import Events, Users, Videos
from tasks.snapshot import Check


def events_suite(columns: Sequence[str], *, as_of: date) -> ExpectationSuite:
    """Rows of events, for a table with `columns`, but for `repeats_suite`."""
    largest = sys.float_info.max
    expectations: list[Expectation] = [ExpectColumnValuesToNotBeNull(column=column) for column in Events.REQUIRED]
    expectations.append(
        ExpectColumnValuesToBeBetween(column=Events.TIME, min_value=EARLIEST, max_value=day_end(as_of), strict_max=True)
    )
    for column, smallest in ((Events.WATCH_SECONDS, 0.0), (Events.RATING, -largest)):
        if column in columns:
            expectations.append(ExpectColumnValuesToBeBetween(column=column, min_value=smallest, max_value=largest))
    return ExpectationSuite(name="events", expectations=expectations)


def repeats_suite() -> ExpectationSuite:
    """No two events share user, video and time."""
    key = [Events.USER, Events.VIDEO, Events.TIME]
    expectations = [ExpectCompoundColumnsToBeUnique(column_list=key)]
    return ExpectationSuite(name="events at equal times", expectations=expectations)


def videos_suite(columns: Sequence[str]) -> ExpectationSuite:
    """Rows of videos, for a table with `columns`."""
    expectations = _identified(Videos.ID)
    if Videos.DURATION_SECONDS in columns:
        expectations.append(
            ExpectColumnValuesToBeBetween(column=Videos.DURATION_SECONDS, min_value=0.0, max_value=sys.float_info.max)
        )
    return ExpectationSuite(name="videos", expectations=expectations)


def users_suite() -> ExpectationSuite:
    """Rows of users."""
    return ExpectationSuite(name="users", expectations=_identified(Users.ID))


def snapshot_suite(checks: Sequence[Check]) -> ExpectationSuite:
    """One expectation a check that could be measured, over a frame of one row and a column a check."""
    expectations = [
        ExpectColumnMaxToBeBetween(column=check.name, min_value=check.low, max_value=check.high, notes=check.reason)
        for check in checks
        if check.observed is not None
    ]
    return ExpectationSuite(name="snapshot", expectations=expectations)


def checked_columns(table: pl.DataFrame, suite: ExpectationSuite) -> pl.DataFrame:
    """The columns of `table` that `suite` looks at.

    Strings become categoricals: Great Expectations fingerprints every value of a frame, and does that a hundred times
    faster over categories.
    """
    wanted = {column for expectation in suite.expectations for column in _columns(expectation)}
    kept = table.select(column for column in table.columns if column in wanted)
    return kept.with_columns(pl.col(pl.String).cast(pl.Categorical))


def _identified(column: str) -> list[Expectation]:
    return [ExpectColumnValuesToNotBeNull(column=column), ExpectColumnValuesToBeUnique(column=column)]


def _columns(expectation: Expectation) -> list[str]:
    kwargs = expectation.configuration.kwargs
    columns: list[str] = kwargs["column_list"] if "column_list" in kwargs else [kwargs["column"]]
    return columns
