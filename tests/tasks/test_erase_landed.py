"""Erased viewers never land again, and what landed is rewritten without them."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from infra.errors import Refused
from infra.settings import Settings
from infra.stores import open_store
from lineage.erasure import Erasures, make_erasure_key
from lineage.keys import signer, trust
from tasks.arrivals import Arrivals
from tasks.erase_landed import holds, leftovers, origins_of, remove_leftovers, replaced_files
from tasks.ingest import ingest
from tasks.landing import Landed, land, landing_folder
from tests.tasks.sources import NOON, day_csv, put


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three days, of which the viewer `gone` is in the first and the last, and a catalogue of viewers."""
    folder = tmp_path / "source"
    day_csv(folder, "2022-04-10", rows=f"gone,10,{NOON}\nann,10,{NOON}")
    day_csv(folder, "2022-04-11", rows=f"bob,10,{NOON}")
    day_csv(folder, "2022-04-12", rows=f"bob,11,{NOON}\ngone,11,{NOON}\n,11,{NOON}")
    put(folder / "users.csv", "user_id,country\ngone,AT\nann,NO\n")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def land_files(source: Path, settings: Settings, last: int = 30) -> Landed:
    return land("files", str(source), name="reel", settings=settings, as_of=date(2022, 4, last))


def erase(settings: Settings, user: str) -> int:
    store = open_store(settings.store_url, settings)
    made = Erasures(store, "reel").record(
        user,
        key=make_erasure_key(settings),
        signer=signer(settings),
        trust=trust(settings, required=True),
        by="ada",
        reason="asked",
    )
    return made.seq


def versions(landed: Landed) -> dict[str, tuple[int, int]]:
    """Rows and version by day."""
    return {str(day): (facts.rows, facts.version) for part in landed.parts for day, facts in part.days.items()}


def snapshot(landed: Landed, settings: Settings, tmp_path: Path) -> tuple[list[tuple], list[str]]:
    """User and day of each row of the night's events, sorted, and the users of its catalogue."""
    (tmp_path / "landed.json").write_text(landed.as_json())
    ingest(tmp_path / "landed.json", landing_folder(settings, "reel"), tmp_path / "raw")
    events = pl.concat([pl.read_parquet(file) for file in (tmp_path / "raw/events").iterdir()])
    users = pl.read_parquet(tmp_path / "raw/users.parquet")["user_id"].to_list()
    rows = events.with_columns(pl.col("day").dt.day()).select("user_id", "day").sort("day", "user_id").rows()
    return rows, users


def holding(settings: Settings, user: str = "gone") -> int:
    return sum(holds(file, user) for file in landing_folder(settings, "reel").glob("files/*.parquet"))


KEPT = [("ann", 10), ("bob", 11), (None, 12), ("bob", 12)]


def test_what_landed_before_is_rewritten_and_the_rest_moves_along(
    source: Path, settings: Settings, tmp_path: Path
) -> None:
    before = land_files(source, settings)
    assert versions(before) == {"2022-04-10": (2, 1), "2022-04-11": (1, 1), "2022-04-12": (3, 1)}
    assert "erasures" not in json.loads(before.as_json())
    assert erase(settings, "gone") == 1
    after = land_files(source, settings)
    assert versions(after) == {"2022-04-10": (1, 2), "2022-04-11": (1, 1), "2022-04-12": (2, 2)}
    assert snapshot(after, settings, tmp_path) == (KEPT, ["ann"])
    assert json.loads(after.as_json())["erasures"] == 1
    assert after.notes == tuple(
        f"events 2022-04-{day}: corrected, version 2, in a file that was rewritten for erasure 1" for day in (10, 12)
    )
    assert {part.file for part in before.parts} & {part.file for part in after.parts} == set()


def test_landing_again_reads_nothing_and_changes_nothing(source: Path, settings: Settings) -> None:
    land_files(source, settings)
    erase(settings, "gone")
    first = land_files(source, settings)
    arrivals = Arrivals(landing_folder(settings, "reel"))
    assert len(arrivals.all()) == 2
    assert land_files(source, settings).as_json() == first.as_json()
    assert len(arrivals.all()) == 2


def test_replaced_files_can_go_and_nights_go_on(source: Path, settings: Settings, tmp_path: Path) -> None:
    land_files(source, settings)
    folder = landing_folder(settings, "reel")
    erase(settings, "gone")
    first = land_files(source, settings)
    (folder / "incoming").mkdir()
    (folder / "incoming/copy.csv").write_text("gone")
    assert (len(leftovers(folder)), len(replaced_files(folder)), holding(settings)) == (3, 2, 2)
    remove_leftovers(folder)
    assert (leftovers(folder), len(replaced_files(folder)), holding(settings)) == ([], 2, 0)
    assert land_files(source, settings).as_json() == first.as_json()
    assert snapshot(first, settings, tmp_path) == (KEPT, ["ann"])


def test_an_erased_viewer_does_not_land_again(source: Path, settings: Settings, tmp_path: Path) -> None:
    erase(settings, "gone")
    landed = land_files(source, settings, last=11)
    assert versions(landed) == {"2022-04-10": (1, 1), "2022-04-11": (1, 1)}
    assert "erasures" not in json.loads(landed.as_json())
    put(source / "users.csv", "user_id,country\ngone,DE\nann,NO\nbob,SE\n")
    day_csv(source, "2022-04-10", rows=f"gone,12,{NOON}\nann,12,{NOON}\nann,13,{NOON}")
    rows, users = snapshot(land_files(source, settings), settings, tmp_path)
    assert (rows, users) == ([("ann", 10), *KEPT], ["ann", "bob"])
    assert holding(settings) == 0


def test_the_newest_catalogue_stays_the_newest(source: Path, settings: Settings, tmp_path: Path) -> None:
    land_files(source, settings)
    put(source / "users.csv", "user_id,country\nann,SE\n")
    land_files(source, settings)
    erase(settings, "gone")
    landed = land_files(source, settings)
    (users,) = (part for part in landed.parts if part.table == "users")
    rows = pl.read_parquet(landing_folder(settings, "reel") / "files" / users.file).rows()
    assert rows == [("ann", "SE")]
    put(source / "users.csv", "user_id,country\ngone,AT\nann,NO\n")
    assert snapshot(land_files(source, settings), settings, tmp_path)[1] == ["ann"]
    assert holding(settings) == 2  # the first landing's days and catalogue, which nothing reads


def test_a_second_viewer_is_taken_out_of_what_the_first_left(source: Path, settings: Settings, tmp_path: Path) -> None:
    land_files(source, settings)
    erase(settings, "gone")
    land_files(source, settings)
    remove_leftovers(landing_folder(settings, "reel"))
    assert erase(settings, "bob") == 2
    landed = land_files(source, settings)
    assert versions(landed) == {"2022-04-10": (1, 2), "2022-04-11": (0, 2), "2022-04-12": (1, 3)}
    assert snapshot(landed, settings, tmp_path) == ([("ann", 10), (None, 12)], ["ann"])
    assert (holding(settings), holding(settings, "bob")) == (0, 1)
    assert json.loads(landed.as_json())["erasures"] == 2


def test_the_source_is_named_as_long_as_it_is_known(source: Path, settings: Settings) -> None:
    land_files(source, settings)
    erase(settings, "gone")
    land_files(source, settings)
    folder = landing_folder(settings, "reel")
    remove_leftovers(folder)
    held = [f"{source}/events/2022-04-{day}/part-0.csv" for day in (10, 12)]
    assert origins_of(Arrivals(folder).all(), 1) == [*held, f"{source}/users.csv"]
    assert origins_of(Arrivals(folder).all(), 2) == []


def test_a_finished_log_is_filtered_each_night(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "ml"
    ratings = "userId,movieId,rating,timestamp\n" + "".join(
        f"{user},{film},4.0,{964982703 + 86400 * day}\n" for user in (1, 2) for film in (1, 2) for day in (0, 1)
    )
    put(folder / "ratings.csv", ratings)
    put(folder / "movies.csv", "movieId,title,genres\n1,One (1995),Drama\n2,Two (1996),Drama\n")
    first = land("movielens", str(folder), name="reel", settings=settings)
    assert [facts[0] for facts in versions(first).values()] == [4, 4]
    erase(settings, "2")
    nights = [land("movielens", str(folder), name="reel", settings=settings) for _ in range(2)]
    assert nights[0].as_json() == nights[1].as_json()
    assert list(versions(nights[0]).values()) == [(2, 2), (2, 2)]
    assert holding(settings, "2") == 1
    remove_leftovers(landing_folder(settings, "reel"))
    again = land("movielens", str(folder), name="reel", settings=settings)
    assert (again.as_json(), holding(settings, "2")) == (nights[0].as_json(), 0)


def test_without_the_key_nothing_lands(source: Path, settings: Settings, tmp_path: Path) -> None:
    erase(settings, "gone")
    elsewhere = Settings(home=tmp_path / "elsewhere", store=settings.store_url)
    with pytest.raises(Refused, match="there is no key here"):
        land_files(source, elsewhere)
    assert not list((tmp_path / "elsewhere").glob("landing/*/files/*"))
    given = elsewhere.model_copy(update={"erasure_key": None})
    (tmp_path / "elsewhere/keys").mkdir(exist_ok=True)
    (tmp_path / "elsewhere/keys/erasure.key").write_bytes((tmp_path / "home/keys/erasure.key").read_bytes())
    assert versions(land_files(source, given))["2022-04-10"] == (1, 1)


def test_a_file_that_is_no_table_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 gone")
    pl.DataFrame({"video_id": ["gone"]}).write_parquet(tmp_path / "videos.parquet")
    pl.DataFrame({"id": [7, None]}).write_parquet(tmp_path / "index.parquet")
    held = [holds(tmp_path / f"{name}.parquet", "gone") for name in ("torn", "videos", "index", "none")]
    assert (held, holds(tmp_path / "index.parquet", "7")) == ([False] * 4, True)
