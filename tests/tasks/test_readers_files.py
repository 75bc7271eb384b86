"""The reader of the canonical contract: layout, half-uploaded days, types, and every bad input."""

import hashlib
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadInput
from infra.settings import Settings
from tasks.readers.base import LeftOut, Tables
from tasks.readers.canonical import FIRST_MILLISECOND, as_csv_id, conform
from tasks.readers.files import Files
from tasks.schema import TIMESTAMP, Events
from tests.tasks.sources import DAY, HEADER, NOON, day_csv, day_parquet, put, read_all

TWELVE = datetime(2022, 4, 10, 12, tzinfo=UTC)


def read(source: Path) -> Tables:
    return read_all(reader(source), source.parent / "in")


def reader(source: Path) -> Files:
    return Files(str(source), Settings(home=source.parent))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.mark.parametrize(
    "name",
    [
        "events/2022-04-10/a.csv",
        "events/day=2022-04-10/deep/a.csv",
        "events/2022-04-10.csv",
        "events/day=2022-04-10.csv",
    ],
)
def test_each_layout_gives_the_day(source: Path, name: str) -> None:
    put(source / name, f"{HEADER}\n1,10,{NOON}\n")
    put(source / "events/2022-04-10/_SUCCESS", "")
    put(source / "events/2022-04-10/.a.csv.tmp.csv", "no")
    assert read(source).events.frame.rows() == [(1, 10, TWELVE, DAY)]


def test_csv_and_parquet_of_all_tables_read_alike(source: Path) -> None:
    day_csv(source, rows=f"1,10,{NOON},1.5,true,0,4.5,CN", header=f"{HEADER},watch_seconds,liked,shared,rating,region")
    put(source / "videos.csv", "video_id,title,tags,uploaded_at\n10,A,x|y,1649592000\n11,,,\n")
    put(source / "users/1.csv", "user_id,age\n1,33\n")
    text = read(source)
    parquet = source.parent / "parquet"
    day_parquet(parquet, text.events.frame.drop("day"))
    assert text.videos is not None
    assert text.users is not None
    text.videos.frame.write_parquet(parquet / "videos.parquet")
    (parquet / "users").mkdir()
    text.users.frame.write_parquet(parquet / "users" / "1.parquet")
    binary = read(parquet)
    assert binary.events.frame.equals(text.events.frame)
    assert text.events.frame.rows() == [(1, 10, TWELVE, 1.5, True, False, 4.5, "CN", DAY)]
    assert binary.videos is not None
    assert binary.videos.frame.equals(text.videos.frame)
    assert text.videos.frame.rows() == [(10, "A", ["x", "y"], TWELVE), (11, None, None, None)]
    assert binary.users is not None
    assert binary.users.frame.rows() == [(1, 33)]


def test_row_faults_pass_for_validation_to_see(source: Path) -> None:
    day_csv(
        source, rows=f",10,{NOON},NaN\n1,,{NOON},-3\n1,10,,\n1,10,9999999999999,1", header=f"{HEADER},watch_seconds"
    )
    with pytest.raises(BadInput, match="times carry Z or an offset"):  # integers and text do not mix
        read(source)
    day_csv(source, rows=f",10,{NOON},NaN\n1,,2999-01-01T00:00:00Z,-3\n1,10,,", header=f"{HEADER},watch_seconds")
    rows = read(source).events.frame
    assert rows["user_id"].to_list() == [None, 1, 1]
    assert rows["video_id"].to_list() == [10, None, 10]
    assert rows["timestamp"].to_list() == [TWELVE, datetime(2999, 1, 1, tzinfo=UTC), None]
    assert str(rows["watch_seconds"].to_list()) == "[nan, -3.0, None]"


def test_long_and_foreign_titles_survive(source: Path) -> None:
    titles = ['今天的晚饭 🍜, "quoted"\nsecond line', "é" * 10_000]
    day_csv(source)
    pl.DataFrame({"video_id": [1, 2], "title": titles}).write_csv(source / "videos.csv")
    videos = read(source).videos
    assert videos is not None
    assert videos.frame["title"].to_list() == titles


@pytest.mark.parametrize(
    ("rows", "header", "sentence"),
    [
        ("1,10", "user_id,video_id", r"part-0.csv lacks the column timestamp. Received: user_id, video_id"),
        (f"1,10,{NOON},x", f"{HEADER},mood", "has the column mood, which the contract lacks. It knows user_id"),
        ("1,10,2022-04-10 12:00:00", HEADER, "timestamp of .*: times carry Z .*Received: '2022-04-10 12:00:00'"),
        ("1,10,yesterdayZ", HEADER, "timestamp of .*: times look like 2022.*Received: 'yesterdayZ'"),
        (f"1,10,{NOON},long", f"{HEADER},watch_seconds", "watch_seconds of .*: values are Float64. Received: 'long'"),
        (f"1,10,{NOON},maybe", f"{HEADER},liked", "liked of .*: values are true, false, 1 or 0. Received: 'maybe'"),
    ],
)  # fmt: skip
def test_a_schema_fault_names_file_column_and_value(source: Path, rows: str, header: str, sentence: str) -> None:
    day_csv(source, rows=rows, header=header)
    with pytest.raises(BadInput, match=sentence):
        read(source)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (
            pl.Series("timestamp", [datetime(2022, 4, 10)]),
            "times carry a time zone.*Received: a column of type Datetime",
        ),
        (pl.Series("timestamp", [1.5]), "times are integers since 1970.*Received: a column of type Float64"),
        (pl.Series("user_id", [1.5]), "ids are integers or strings.*Received: a column of type Float64"),
        (pl.Series("liked", [0.5]), "values are true or false.*Received: a column of type Float64"),
        (pl.Series("region", [0.5]), "values are strings.*Received: a column of type Float64"),
    ],
)
def test_a_parquet_column_of_the_wrong_type_is_a_schema_fault(source: Path, column: pl.Series, sentence: str) -> None:
    whole = pl.DataFrame({"user_id": [1], "video_id": [10], "timestamp": [1649592000]})
    day_parquet(source, whole.with_columns(column))
    with pytest.raises(BadInput, match=f"{column.name} of .*part-0.parquet: {sentence}"):
        read(source)


def test_zoned_parquet_times_become_utc(source: Path) -> None:
    beijing = pl.Series("timestamp", [datetime(2022, 4, 10, 20)]).dt.replace_time_zone("Asia/Shanghai")
    day_parquet(source, pl.DataFrame({"user_id": [1], "video_id": [10]}).with_columns(beijing))
    assert read(source).events.frame["timestamp"].to_list() == [TWELVE]


def test_mixed_ids_name_both_files(source: Path) -> None:
    day_csv(source, "2022-04-10")
    day_csv(source, "2022-04-11", rows=f"anna,10,{NOON}")
    sentence = r"user_id must have one type.*Int64 in .*2022-04-10/part-0.csv and String in .*2022-04-11/part-0.csv"
    with pytest.raises(BadInput, match=sentence):
        read(source)


def test_ids_mixed_between_events_and_catalogue_are_refused(source: Path) -> None:
    day_csv(source)
    put(source / "videos.csv", "video_id\nv10\n")
    with pytest.raises(BadInput, match=r"video_id must have one type.*part-0.csv and String in .*videos.csv"):
        read(source)


def test_a_truncated_parquet_leaves_its_whole_day_out(source: Path) -> None:
    frame = pl.DataFrame({"user_id": [1], "video_id": [10], "timestamp": [1649592000]})
    day_parquet(source, frame, "2022-04-09")
    day_parquet(source, frame, "2022-04-10", "good.parquet")
    cut = day_parquet(source, frame, "2022-04-10", "cut.parquet")
    cut.write_bytes(cut.read_bytes()[:-20])
    tables = read(source)
    assert tables.days == {date(2022, 4, 9)}
    assert tables.events.frame.height == 1
    assert [left.uri for left in tables.left_out] == [str(cut)]
    assert tables.left_out[0].reason.startswith("it cannot be read: ")


@pytest.mark.parametrize(
    "content", [b"", b"user_id,video_id,timestamp\n1,10,1649592000,7,8\n", b"\xff\xfe,x\n\x80,1\n"]
)
def test_a_broken_csv_is_left_out(source: Path, content: bytes) -> None:
    day_csv(source, "2022-04-09")
    put(source / "events/2022-04-10/broken.csv", "").write_bytes(content)
    tables = read(source)
    assert tables.days == {date(2022, 4, 9)}
    assert [left.uri for left in tables.left_out] == [str(source / "events/2022-04-10/broken.csv")]


def test_a_half_uploaded_day_is_left_out_until_all_files_are_there(source: Path) -> None:
    day_csv(source, "2022-04-09")
    first = day_csv(source, "2022-04-10")
    folder = first.parent
    second = f"{HEADER}\n2,20,{NOON}\n"
    sums = [(hashlib.sha256(first.read_bytes()), "part-0.csv"), (hashlib.sha256(second.encode()), "part-1.csv")]
    put(folder / "SHA256SUMS", "".join(f"{digest.hexdigest()}  {name}\n" for digest, name in sums))
    listing = reader(source).files()
    assert [file.day for file in listing.files] == [date(2022, 4, 9)]
    reason = "half-uploaded: SHA256SUMS names part-1.csv, which is not there"
    assert listing.left_out == (LeftOut(str(folder / "SHA256SUMS"), reason),)
    put(folder / "part-1.csv", second)
    assert read(source).events.frame.height == 3
    put(folder / "part-2.csv", second)
    assert "does not name part-2.csv" in reader(source).files().left_out[0].reason
    put(folder / "SHA256SUMS", "half a li")
    assert reader(source).files().left_out[0].reason == "half-uploaded: SHA256SUMS is not in the format of sha256sum"


def test_a_file_outside_of_any_day_is_named(source: Path) -> None:
    day_csv(source)
    stray = put(source / "events/april.csv", HEADER)
    reason = "it lies outside of events/YYYY-MM-DD/, so its day is not known"
    assert reader(source).files().left_out == (LeftOut(str(stray), reason),)


def test_a_day_that_is_no_date_is_refused(source: Path) -> None:
    day_csv(source, "2022-13-45")
    with pytest.raises(BadInput, match=r"A day of events is named YYYY-MM-DD. Received: .*2022-13-45/part-0.csv"):
        reader(source).files()


def test_no_such_folder_and_no_events_are_told_apart(source: Path) -> None:
    with pytest.raises(BadInput, match=r"must be a folder or an s3:// address. Received: .*source, which is no folder"):
        reader(source).files()
    put(source / "videos.csv", "video_id\n1\n")
    with pytest.raises(BadInput, match=r"holds no events: days lie in events/YYYY-MM-DD/. Received: videos.csv"):
        reader(source).files()


def test_a_day_with_a_header_only_is_known_to_be_empty(source: Path) -> None:
    put(source / "events/2022-04-10.csv", f"{HEADER}\n")
    tables = read(source)
    assert tables.days == {DAY}
    assert tables.events.frame.is_empty()


def test_nested_user_attributes_are_refused(source: Path) -> None:
    day_csv(source)
    pl.DataFrame({"user_id": [1], "friends": [[2, 3]]}).write_parquet(source / "users.parquet")
    with pytest.raises(
        BadInput, match=r"users.parquet: attributes of users are plain. Received: friends, List\(Int64\)"
    ):
        read(source)


@given(st.lists(st.integers(-(10**17), 10**17), min_size=1))
def test_whole_numbers_in_csv_are_integer_ids(values: list[int]) -> None:
    ids = as_csv_id(pl.Series("user_id", [str(value) for value in values]), uri="x")
    assert ids.dtype == pl.Int64
    assert ids.to_list() == values


@given(st.sampled_from(["007", "+1", "1.0", " 1", "-0", "", "a", "9" * 19]), st.integers(0, 9))
def test_any_other_spelling_makes_all_ids_strings(odd: str, number: int) -> None:
    ids = as_csv_id(pl.Series("user_id", [str(number), odd]), uri="x")
    assert ids.to_list() == [str(number), odd]


@given(st.integers(-(10**11) + 1, 10**11 - 1), st.integers(10**11, 10**15))
def test_integer_times_are_seconds_or_milliseconds_by_magnitude(seconds: int, milliseconds: int) -> None:
    assert FIRST_MILLISECOND == 10**11
    for text in (False, True):
        raw = pl.DataFrame({"timestamp": [seconds, milliseconds]}).cast(pl.String if text else pl.Int64)
        times = conform(raw, {Events.TIME: TIMESTAMP}, ids=(), uri="x")[Events.TIME]
        assert times.to_physical().to_list() == [seconds * 1000, milliseconds]


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.replace(microsecond=0)),
    st.integers(-12 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
)
def test_iso_times_with_an_offset_are_the_same_instant(local: datetime, minutes: int, between: str) -> None:
    time = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    raw = pl.DataFrame({"timestamp": [time.isoformat(between), f"{local.isoformat()}.25Z"]})
    times = conform(raw, {Events.TIME: TIMESTAMP}, ids=(), uri="x")[Events.TIME].to_list()
    assert times == [time, local.replace(microsecond=250_000, tzinfo=UTC)]
