"""A viewer of three past nights is erased: before, lineage lists them; after, no file anywhere holds the id."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.stores import open_store
from tests.flows.end_state import home_of
from tests.flows.project import LAST_DAY, last_json, make_source, retrain, run_cli, said, start_cli
from tests.infra.servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # six nights and a dozen commands
VIEWER = "-".join(("viewer", "to", "forget", "7f3a"))  # in no file of code, which the runs commit
UNHEARD = "v-whose-only-row-is-faulty"
FUTURE = 4_000_000_000
DAYS = 5
PLACES = ("store", "remote", "artifacts")
ERASE = ("audit", "erase", "--reason", "asked to be forgotten", "--json", "--user")


@dataclass
class History:
    """Nights over a source whose viewer `VIEWER` comes on the third day.

    Attributes:
        env: where store, remote and MLflow's artifacts are; folders below `project`'s own, or on S3.
        nights: outcomes in order: one without the viewer, then three with.
    """

    project: Path
    source: Path
    env: dict[str, str]
    server: S3Server | None = None
    nights: list[dict[str, Any]] = field(default_factory=list)

    def night(self, day: int, *words: str) -> dict[str, Any]:
        """The night of the source's `day`-th day."""
        return retrain(self.project, self.source, *words, as_of=_day(day), env=self.env)

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command."""
        return run_cli(self.project, *words, env=self.env)

    def json(self, *words: str, rc: int = 0) -> Any:
        """What a command with `--json` printed."""
        done = self.cli(*words)
        assert done.returncode == rc, said(done)
        assert VIEWER not in done.stderr
        return last_json(done.stdout)

    def apply_until(self, begun: Callable[[dict[str, float]], bool]) -> None:
        """Start to apply, and kill that when `begun` says yes to the shares of cached files and checkouts left."""
        before, started = self._files(), start_cli(self.project, *ERASE, VIEWER, "--apply", env=self.env)
        while started.poll() is None:
            if begun({where: count / before[where] for where, count in self._files().items()}):
                started.kill()
                break
            time.sleep(0.005)
        assert started.wait() == -signal.SIGKILL

    def _files(self) -> dict[str, int]:
        home = home_of(self.project)
        return {"cache": len(list(home.glob("cache/files/md5/*/*"))), "runs": len(list(home.glob("runs/*/checkout")))}

    def holders(self, scratch: Path) -> set[str]:
        """The folders of state, here and on S3, in which a file holds the viewer, and `git` where an object does."""
        home = home_of(self.project)
        found = {path.relative_to(home).parts[0] for path in holding(home)}
        for place in PLACES:
            folder = self.brought(place, scratch / place)
            found |= {place} if holding(folder) else set()
            shutil.rmtree(folder, ignore_errors=self.server is None)
        objects = ["git", "cat-file", "--batch-all-objects", "--batch"]
        if VIEWER.encode() in subprocess.run(objects, cwd=self.project, capture_output=True, check=True).stdout:
            found.add("git")
        return found

    def brought(self, place: str, into: Path) -> Path:
        """A place as a folder."""
        url = self.env[f"NIGHTREEL_{'MLFLOW_ARTIFACTS' if place == 'artifacts' else place.upper()}"]
        if self.server is None:
            return Path(shutil.copytree(url, into))
        store = open_store(url, self.server.settings())
        for key in store.keys(""):
            (into / key).parent.mkdir(parents=True, exist_ok=True)
            store.download(key, into / key)
        return into


def _day(day: int) -> date:
    return LAST_DAY - timedelta(days=DAYS - day)


def holding(folder: Path) -> list[Path]:
    """Files below `folder` that hold the viewer, as bytes or in a column of a table."""
    return [path for path in folder.rglob("*") if path.is_file() and _holds(path)]


def _holds(path: Path) -> bool:
    data = path.read_bytes()
    if VIEWER.encode() in data:
        return True
    if data[:4] != b"PAR1":
        return False
    table = pl.read_parquet(data)
    return any(VIEWER in table[name].cast(pl.String) for name in table.columns if table[name].dtype == pl.String)


@pytest.fixture(scope="module", params=["folders", "s3"])
def history(
    request: pytest.FixtureRequest, template: Path, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> History:
    """A night before the viewer came, and three after."""
    folder = tmp_path_factory.mktemp("erase")
    project = Path(shutil.copytree(template, folder / "project"))
    source = make_source(folder / "source", days=DAYS)
    _rename(source)
    server: S3Server | None = request.getfixturevalue("s3") if request.param == "s3" else None
    base = server.new_prefix() if server else str(folder / "services")
    env = {"NIGHTREEL_STORE": "store", "NIGHTREEL_REMOTE": "remote", "NIGHTREEL_MLFLOW_ARTIFACTS": "artifacts"}
    env = {name: f"{base}/{place}" for name, place in env.items()} | (server.environment() if server else {})
    made = History(project, source, env, server)
    made.nights.append(made.night(2))
    _bring_in(source)
    made.nights += [made.night(day) for day in (3, 4, 5)]
    return made


def _rename(source: Path) -> None:
    """Make ids strings, and a viewer who comes on the third day `VIEWER`."""
    days = [pl.read_csv(source / f"events/{_day(day)}/part-0.csv") for day in range(1, DAYS + 1)]
    before = pl.concat(days[:2])["user_id"].unique()
    come = pl.concat(days[2:3]).filter(~pl.col("user_id").is_in(before.implode()))
    viewer = come.group_by("user_id").len().sort("len", "user_id", descending=True).row(0)[0]
    for day, rows in enumerate(days, start=1):
        name = pl.when(pl.col("user_id") == viewer).then(pl.lit(VIEWER)).otherwise(pl.format("v{}", "user_id"))
        rows.with_columns(name.alias("user_id")).write_csv(source / f"events/{_day(day)}/part-0.csv")


def _bring_in(source: Path) -> None:
    """A catalogue of viewers, and rows that go to quarantine: one of the viewer's, and the only one of another's."""
    pl.DataFrame({"user_id": [VIEWER, "v1"], "country": ["AT", "NO"]}).write_csv(source / "users.csv")
    events = source / f"events/{_day(4)}/part-0.csv"
    rows = pl.read_csv(events)
    faulty = [rows.head(1).with_columns(user_id=pl.lit(who), timestamp=pl.lit(FUTURE)) for who in (VIEWER, UNHEARD)]
    pl.concat([rows, *faulty]).write_csv(events)


def test_a_viewer_is_erased_from_everything(history: History, tmp_path: Path) -> None:
    without, *with_viewer = history.nights
    assert [night["status"] for night in history.nights] == ["released"] * 4
    reached = history.json("audit", "impact", "--user", VIEWER, "--json")
    assert [night["run"] for night in reached["nights"]] == [night["run"] for night in with_viewer]
    on_this_machine = {"cache", "landing", "releases", "runs"}
    assert history.holders(tmp_path / "before") == on_this_machine | set(PLACES)

    plan = history.json(*ERASE, VIEWER)
    assert (plan["erasure"]["seq"], plan["applied"], plan["live"]) == (1, False, with_viewer[-1]["release"])
    kinds = {row["kind"] for row in plan["holdings"]}
    assert kinds == {
        "release", "landed file", "run folder", "local copy", "DVC object", "release part", "snapshot index",
        "MLflow artifact",
    }  # fmt: skip
    releases = {row["what"] for row in plan["holdings"] if row["kind"] == "release"}
    assert releases == {night["release"] for night in with_viewer}
    assert str(history.source / f"events/{_day(3)}/part-0.csv") in plan["sources"]

    refused = history.json(*ERASE, VIEWER, "--apply", rc=1)
    assert refused["error"] == "Refused"
    assert "Run `nightreel retrain`" in refused["message"]
    tonight = history.night(5)
    assert tonight["status"] == "released"
    for begun in (lambda left: left["cache"] < 0.9, lambda left: left["runs"] < 1):
        history.apply_until(begun)
    applied = history.json(*ERASE, VIEWER, "--apply")
    assert applied["holdings"] == []
    assert applied["erasure"] == plan["erasure"]
    assert applied["sources"] == plan["sources"]

    assert history.holders(tmp_path / "after") == set()
    assert history.json("audit", "impact", "--user", VIEWER, "--json")["nights"] == []
    assert history.json("audit", "verify", "all", "--json")["findings"] == []
    assert without["release"] not in releases
    assert history.json(*ERASE, UNHEARD)["live"] == tonight["release"]
    serves_the_same = history.night(5)
    assert (serves_the_same["status"], serves_the_same["quarantined"]) == ("released", 0)
    assert history.json(*ERASE, UNHEARD, "--apply")["holdings"] == []

    back = history.json("rollback", "--reason", "a test", "--json")
    assert back["release"] == without["release"]
    retired = history.json("rollback", "--to", str(with_viewer[0]["seq"]), "--reason", "a test", "--json", rc=1)
    assert "was retired" in retired["message"]
    assert json.dumps(applied).count(VIEWER) == 0
