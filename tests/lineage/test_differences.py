"""Differences are told by dotted key, by rows and by values."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.differences import FileDifference, file_difference, tree_differences

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: st.dictionaries(st.text(min_size=1, max_size=3), below, max_size=3) | st.lists(below, max_size=2),
    max_leaves=8,
)
TABLE = pl.DataFrame(
    {
        "user_id": ["a", "b", "c"],
        "rating": [1.0, None, float("nan")],
        "tags": [["x"], None, ["y", "z"]],
        "day": [date(2016, 1, 1)] * 3,
    }
)


@given(TREES)
def test_a_tree_does_not_differ_from_itself(tree):
    assert tree_differences(tree, tree) == []


def test_each_key_that_differs_is_named_with_both_values():
    recorded = {"seed": 1, "train": {"ease": {"l2": 250.0}, "gone": None}, "ks": [5, 10], "name": "films"}
    now = {"seed": 1, "train": {"ease": {"l2": 200.0}}, "ks": [5], "gate": {"rule": "better"}, "name": "films"}
    assert list(map(str, tree_differences(recorded, now))) == [
        'gate: {"rule": "better"}, recorded none',
        "ks: [5], recorded [5, 10]",
        "train.ease.l2: 200.0, recorded 250.0",
    ]


def tables(folder: Path, recorded: pl.DataFrame, now: pl.DataFrame) -> FileDifference:
    recorded.write_parquet(folder / "a.parquet")
    now.write_parquet(folder / "b.parquet")
    return file_difference("data/t.parquet", recorded=folder / "a.parquet", now=folder / "b.parquet")


def test_one_changed_row_is_told_with_its_columns(tmp_path):
    changed = TABLE.with_columns(rating=pl.Series([2.0, None, float("nan")]), tags=pl.Series([["w"], None, ["y", "z"]]))
    found = tables(tmp_path, TABLE, changed)
    assert str(found) == "data/t.parquet differs: 1 row of 3 changed (rating, tags)"
    assert not found.same_content


@pytest.mark.parametrize(
    ("now", "how"),
    [
        (TABLE.with_columns(rating=pl.lit(None, pl.Float64)), "differs: 2 rows of 3 changed (rating)"),
        (TABLE.head(2), "differs: 2 rows, recorded 3"),
        (TABLE.drop("day"), "differs: other columns or types: day: none, recorded Date"),
        (TABLE.select(reversed(TABLE.columns)), "differs: other columns or types: their order"),
    ],
)
def test_other_tables_are_told(tmp_path, now, how):
    assert tables(tmp_path, TABLE, now).how == how


def test_equal_rows_in_other_bytes_are_told_and_are_the_same_content(tmp_path):
    TABLE.write_parquet(tmp_path / "a.parquet")
    TABLE.write_parquet(tmp_path / "b.parquet", compression="snappy")
    found = file_difference("t", recorded=tmp_path / "a.parquet", now=tmp_path / "b.parquet")
    assert found == FileDifference(file="t", how="differs: same rows, other bytes", same_content=True)


def test_arrays_and_json_are_told_by_their_values(tmp_path):
    np.save(tmp_path / "a.npy", np.array([1, 2, 3]))
    np.save(tmp_path / "b.npy", np.array([1, 2, 4]))
    assert file_difference("s", recorded=tmp_path / "a.npy", now=tmp_path / "b.npy").how == (
        "differs: 1 of 3 values differ"
    )
    (tmp_path / "a.json").write_text('{"events": 3, "now": 1}')
    (tmp_path / "b.json").write_text('{"events": 2, "now": 1}')
    assert file_difference("j", recorded=tmp_path / "a.json", now=tmp_path / "b.json").how == (
        "differs: events: 2, recorded 3"
    )


@pytest.mark.parametrize("suffix", [".parquet", ".npy", ".json"])
def test_a_file_that_cannot_be_read_any_more_is_told(tmp_path, suffix):
    TABLE.write_parquet(tmp_path / "a.parquet")
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.json").write_text("{}")
    (damaged := tmp_path / f"b{suffix}").write_bytes(b"\x00" * 30)
    how = file_difference("f", recorded=tmp_path / f"a{suffix}", now=damaged).how
    assert "cannot be read" in how
