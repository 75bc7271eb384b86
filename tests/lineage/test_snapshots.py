"""The index of a snapshot answers which of many snapshots hold one id, exactly."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra.errors import Refused
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store
from lineage.snapshots import GROUP_ROWS, holding, indexed, put_index, write_index

A, B, C = "a" * 64, "b" * 64, "c" * 64


def put(store: ObjectStore, folder: Path, snapshot: str, users: pl.Series, videos: pl.Series) -> None:
    write_index(users, videos, folder / snapshot)
    put_index(store, "movies", snapshot, folder / snapshot)


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> ObjectStore:
    """Snapshot A has integers, B strings; C was never indexed."""
    store = open_store(store_url, Settings())
    put(store, tmp_path, A, pl.Series([7, 3, None, 7, -2]), pl.Series([10]))
    put(store, tmp_path, B, pl.Series(["7", "añil", ""]), pl.Series(["10", "x"]))
    return store


@pytest.mark.parametrize(
    ("user", "snapshots"),
    [
        ("7", {A, B}),
        ("007", {A}),
        ("-2", {A}),
        ("3", {A}),
        ("añil", {B}),
        ("", {B}),
        ("4", set()),
        ("seven", set()),
        ("9" * 19, set()),
        ("9" * 40, set()),
        ("7.0", set()),
        ("None", set()),
    ],
)
def test_ids_are_compared_as_the_file_writes_them(store: ObjectStore, user: str, snapshots: set[str]) -> None:
    assert holding(store, "movies", [A, B, C], user=user) == snapshots


def test_videos_and_users_are_apart_and_so_are_recommenders(store: ObjectStore) -> None:
    assert holding(store, "movies", [A, B], video="10") == {A, B}
    assert holding(store, "movies", [A, B], video="x") == {B}
    assert holding(store, "movies", [A, B], video="7") == set()
    assert holding(store, "movies", [B], video="10") == {B}
    assert holding(store, "movie", [A, B], video="10") == set()
    assert indexed(store, "movies") == {A, B}
    with pytest.raises(ValueError, match="Either a user or a video"):
        holding(store, "movies", [A], user="1", video="1")


def test_a_snapshot_is_indexed_once_both_files_are_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    put(store, tmp_path, A, pl.Series([1]), pl.Series([2]))
    (tmp_path / "store/snapshots/movies" / A / "videos.parquet").unlink()
    assert indexed(store, "movies") == set()
    put(store, tmp_path, A, pl.Series([1]), pl.Series([2]))
    assert indexed(store, "movies") == {A}


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1" + b"\0" * 60 + b"PAR1"])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: bytes) -> None:
    store = FolderStore(tmp_path / "store")
    put(store, tmp_path, A, pl.Series([1]), pl.Series([2]))
    (tmp_path / "store/snapshots/movies" / A / "users.parquet").write_bytes(damage)
    with pytest.raises(Refused, match=rf"^The index snapshots/movies/{A}/users.parquet is damaged: "):
        holding(store, "movies", [A], user="1")


def test_the_file_is_sorted_distinct_small_in_groups_and_equal_for_equal_ids(tmp_path: Path) -> None:
    ids = pl.Series(range(50_000)).shuffle(seed=1)
    write_index(ids, pl.concat([ids, ids, pl.Series([None], dtype=pl.Int64)]), tmp_path)
    users = pq.ParquetFile(tmp_path / "users.parquet")
    assert users.read()["id"].to_pylist() == list(range(50_000))
    assert (tmp_path / "users.parquet").read_bytes() == (tmp_path / "videos.parquet").read_bytes()
    groups = [users.metadata.row_group(at) for at in range(users.num_row_groups)]
    assert [group.num_rows for group in groups] == [GROUP_ROWS] * 3 + [50_000 - 3 * GROUP_ROWS]
    assert [group.column(0).statistics.min for group in groups] == [at * GROUP_ROWS for at in range(4)]
    assert all(group.column(0).has_offset_index and group.column(0).has_column_index for group in groups)
    assert (tmp_path / "users.parquet").stat().st_size < 50_000


IDS = st.lists(st.text(max_size=3), max_size=20) | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)


@given(ids=IDS, wanted=st.text(max_size=3) | st.integers(-(2**64), 2**64).map(str))
@example(ids=["x" * 9000, "y"], wanted="x" * 9000)  # too long for the statistics of a row group
@example(ids=[2**63 - 1, -(2**63)], wanted=str(2**63 - 1))
@example(ids=[2**63 - 1, -(2**63)], wanted=str(-(2**63)))
def test_holding_agrees_with_a_look_at_every_id(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str] | list[int], wanted: str
) -> None:
    folder = tmp_path_factory.mktemp("index")
    store = FolderStore(folder / "store")
    series = pl.Series(ids, dtype=pl.Int64 if ids and isinstance(ids[0], int) else pl.String)
    put(store, folder, A, series, series)
    for asked in {wanted, *map(str, ids)}:
        expected = {A} if asked in map(str, ids) else set()
        assert holding(store, "movies", [A], user=asked) == expected
        assert holding(store, "movies", [A], video=asked) == expected
