"""Digests of rows and Parquet files that depend on nothing but the rows."""

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from infra.errors import BadInput
from tasks import content
from tasks.content import day_digests, rows_digest, write_parquet

ROWS = pl.DataFrame(
    {
        "user_id": [1, 2],
        "timestamp": pl.Series([datetime(2022, 4, 10, tzinfo=UTC)] * 2, dtype=pl.Datetime("ms", "UTC")),
        "title": ['a "b"', ""],
        "tags": [["x", "y"], None],
        "rating": [0.1, None],
    }
)
TEXT = '"user_id","timestamp","title","tags","rating"\n1,1649548800000,"a ""b""","x\x1fy",0.1\n2,1649548800000,"",,\n'


def test_the_digest_is_that_of_the_rows_as_csv() -> None:
    assert rows_digest(ROWS) == hashlib.sha256(TEXT.encode()).hexdigest()


def test_slices_do_not_show_in_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_digest(ROWS)
    monkeypatch.setattr(content, "SLICE", 1)
    assert rows_digest(ROWS) == whole


def test_an_empty_column_changes_nothing_and_a_changed_value_does() -> None:
    assert rows_digest(ROWS.with_columns(pl.lit(None, pl.String).alias("region"))) == rows_digest(ROWS)
    assert rows_digest(ROWS.with_columns(pl.lit("CN").alias("region"))) != rows_digest(ROWS)
    assert rows_digest(ROWS.reverse()) != rows_digest(ROWS)


def test_a_days_digest_does_not_depend_on_the_other_days() -> None:
    days = [date(2022, 4, 9), date(2022, 4, 10)]
    both = pl.concat([ROWS.with_columns(pl.lit(day).alias("day")) for day in days])
    told = day_digests(both, frozenset([*days, date(2022, 4, 11)]))
    assert told == {
        days[0]: (2, rows_digest(ROWS)),
        days[1]: (2, rows_digest(ROWS)),
        date(2022, 4, 11): (0, hashlib.sha256(b'"user_id"\n').hexdigest()),
    }


@given(
    st.lists(st.tuples(st.integers(0, 3), st.none() | st.text("a\n\r\"',;", max_size=4), st.none() | st.floats(0, 1)))
)
def test_a_days_digest_is_that_of_its_rows_alone(rows: list[tuple[int, str | None, float | None]]) -> None:
    schema = {"day": pl.Int8, "title": pl.String, "rating": pl.Float64}
    events = pl.DataFrame(sorted(rows, key=lambda row: row[0]), schema, orient="row").with_columns(
        pl.date(2022, 4, pl.col("day") + 1)
    )
    alone = {day: events.filter(pl.col("day") == day).drop("day") for day in events["day"].unique().sort()}
    for at_once in (1, 2, 1_000_000):
        with patch.object(content, "SLICE", at_once):
            told = day_digests(events, frozenset(alone))
            assert told == {day: (len(its), rows_digest(its)) for day, its in alone.items()}


def test_equal_rows_give_one_file_of_equal_bytes_whatever_their_chunks(tmp_path: Path) -> None:
    many = pl.concat([ROWS] * 50_000)
    first = write_parquet(many, tmp_path)
    bytes_then = first.read_bytes()
    second = write_parquet(pl.concat([many.head(70_001), many.tail(29_999)], rechunk=False), tmp_path)
    assert first == second
    assert second.read_bytes() == bytes_then
    assert first.stem == hashlib.sha256(bytes_then).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert_frame_equal(pl.read_parquet(first), many)


def test_a_disk_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    with pytest.raises(BadInput, match=r"files cannot be used: "):
        write_parquet(ROWS, tmp_path / "files")
