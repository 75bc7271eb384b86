"""Retention over real nights: what is kept is whole, what goes is gone everywhere, and a kill changes nothing."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.checkout import IN_USE
from infra.dvc_removal import outs_of
from infra.locks import locked
from infra.stores import ObjectStore, open_store
from lineage.lease import LEASES, Leases
from lineage.manifest import Manifest
from lineage.releases import blob_key
from tests.flows.end_state import git, home_of, query
from tests.flows.project import LAST_DAY, last_json, make_source, retrain, run_cli, said, start_cli
from tests.infra.servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DAYS = 5
HELD, GONE, BEFORE, LIVE = range(4)
OTHER = "--set=name=other"
COLLECT = ("gc", "--keep", "1", "--name", "files", "--json")


@dataclass
class History:
    """Four nights of `files`, the first one's release on hold, and one of `other` over the second one's data."""

    project: Path
    source: Path
    env: dict[str, str]
    server: S3Server | None
    nights: list[dict[str, Any]] = field(default_factory=list)
    other: dict[str, Any] = field(default_factory=dict)

    def night(self, day: int, *words: str) -> dict[str, Any]:
        return retrain(self.project, self.source, *words, as_of=LAST_DAY - timedelta(days=DAYS - day), env=self.env)

    def json(self, *words: str, rc: int = 0) -> Any:
        done = run_cli(self.project, *words, "--json", env=self.env)
        assert done.returncode == rc, said(done)
        return last_json(done.stdout)

    def text(self, *words: str) -> str:
        done = run_cli(self.project, *words, env=self.env | {"COLUMNS": "100"})
        assert done.returncode == 0, said(done)
        return done.stdout

    def release(self, night: int) -> str:
        return str(self.nights[night]["release"])

    def refused(self, *words: str) -> str:
        answer = self.json(*words, rc=1)
        assert answer["error"] == "Refused", answer
        return str(answer["message"])

    @property
    def home(self) -> Path:
        return home_of(self.project)

    def place(self, name: str) -> ObjectStore:
        """`store`, `remote`, `artifacts` or, here, `cache`."""
        if name == "cache":
            return open_store(str(self.home / "cache"), self._settings)
        return open_store(self.env[PLACES[name]], self._settings)

    @property
    def _settings(self) -> Any:
        from infra.settings import Settings

        return self.server.settings() if self.server else Settings(home=self.home)

    def manifest(self, night: dict[str, Any]) -> Manifest:
        data = self.place("store").get(f"manifests/{night['release']}.json")
        return Manifest.decode(data, where="a test")

    def blobs(self, nights: list[dict[str, Any]]) -> set[str]:
        """What the releases of `nights` need, and the records of all."""
        needed = {blob_key(part) for night in nights for part in self.manifest(night).parts.values()}
        for night in (*self.nights, self.other):
            needed |= {blob_key(part) for path, part in self.manifest(night).parts.items() if path[:7] == "record/"}
        return needed

    def objects(self, nights: list[dict[str, Any]]) -> set[str]:
        """Keys of DVC's objects of the runs of `nights`, by what git and DVC say; metrics are in the cache alone."""
        remote, found = self.place("remote"), set()
        for night in nights:
            lock = git(self.project, "show", f"refs/nightreel/runs/{night['run']}:dvc.lock")
            outs = outs_of(lock)
            lists = [json.loads(remote.get(_key(md5))) for md5 in outs if md5.endswith(".dir")]
            found |= {_key(md5) for md5 in outs} | {_key(file["md5"]) for listed in lists for file in listed}
        return found

    def everything(self) -> dict[str, Any]:
        """All that a dry run must leave, and that a kill must not change."""
        return {
            **{name: sorted(key for key in self.place(name).keys("") if not key.startswith(LEASES)) for name in PLACES},
            "cache": sorted(self.place("cache").keys("files/")),
            "runs": sorted(str(path) for path in self.home.glob("runs/*/*")),
            "copies": sorted(path.name for path in (self.home / "releases").iterdir()),
            "tags": query(self.home, "select version, value from model_version_tags where key = 'nightreel.gone'"),
        }


PLACES = {"store": "NIGHTREEL_STORE", "remote": "NIGHTREEL_REMOTE", "artifacts": "NIGHTREEL_MLFLOW_ARTIFACTS"}


def _key(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


@pytest.fixture(scope="module", params=["folders", "s3"])
def history(
    request: pytest.FixtureRequest, template: Path, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> History:
    folder = tmp_path_factory.mktemp("gc")
    project = Path(shutil.copytree(template, folder / "project"))
    server: S3Server | None = request.getfixturevalue("s3") if request.param == "s3" else None
    base = server.new_prefix() if server else str(folder / "services")
    env = {variable: f"{base}/{name}" for name, variable in PLACES.items()}
    env |= server.environment() if server else {}
    made = History(project, make_source(folder / "source", days=DAYS), env, server)
    made.nights += [made.night(day) for day in (2, 3, 4, 5)]
    made.other = made.night(3, OTHER)
    assert [night["status"] for night in (*made.nights, made.other)] == ["released"] * 5
    made.json("audit", "hold", made.release(HELD)[:9], "--name", "files", "--reason", "case 12")
    return made


@dataclass(frozen=True)
class Collected:
    """What a dry run said, what lay there before, and what the one that was not killed said."""

    at: History
    planned: dict[str, Any]
    shown: str
    before: dict[str, Any]
    needed: tuple[set[str], set[str]]
    done: dict[str, Any]


@pytest.fixture(scope="module")
def collected(history: History) -> Collected:
    """A dry run; then one that is killed at three boundaries; then one to its end."""
    before = history.everything()
    planned, shown = history.json(*COLLECT[:-1]), history.text(*COLLECT[:-1])
    assert history.everything() == before
    kept = [history.nights[HELD], history.nights[BEFORE], history.nights[LIVE], history.other]
    needed = history.blobs(kept), history.objects(kept)
    for begun in _boundaries(history, before):
        _kill_when(history, begun)
    return Collected(history, planned, shown, before, needed, history.json(*COLLECT[:-1], "--apply"))


def _boundaries(at: History, before: dict[str, Any]) -> Iterator[Callable[[], bool]]:
    yield lambda: at.place("store").exists(f"retired/{at.release(GONE)}.json")
    yield lambda: len(list(at.place("remote").keys("files/"))) < len(before["remote"])
    yield lambda: len(list(at.place("cache").keys("files/"))) < len(before["cache"])
    yield lambda: not (at.home / "runs" / at.nights[GONE]["run"] / "ready").exists()


def _kill_when(at: History, begun: Callable[[], bool]) -> None:
    started = start_cli(at.project, *COLLECT, "--apply", env=at.env)
    while started.poll() is None:
        if begun():
            started.kill()
            break
        time.sleep(0.002)
    assert started.wait() in (-signal.SIGKILL, 0)


def test_a_dry_run_tells_what_is_kept_and_why_and_what_would_go(collected: Collected) -> None:
    at, plan = collected.at, collected.planned
    assert {one["release"]: one["why"] for one in plan["kept"]} == {
        at.release(LIVE): "live",
        at.release(BEFORE): "was live",
        at.release(HELD): "hold",
    }
    assert (plan["releases"], plan["applied"]) == ([at.release(GONE)], False)
    rows = {(row["place"], row["what"]): row["count"] for row in plan["gone"]}
    lost = set(collected.before["cache"]) - collected.needed[1]
    assert rows[("DVC cache", "objects")] == len(lost)
    assert rows[(f"DVC remote {at.env['NIGHTREEL_REMOTE']}", "objects")] == len(lost & set(collected.before["remote"]))
    assert rows[("this machine", "worktrees of runs")] == 1
    assert all(row["bytes"] > 0 for row in plan["gone"] if row["what"] != "worktrees of runs")
    assert "Nothing has been removed. To remove it:" in collected.shown
    assert "nightreel gc --keep 1 --name files --apply" in collected.shown
    assert max(map(len, collected.shown.splitlines())) <= 100


def test_what_goes_is_gone_everywhere_and_nothing_else(collected: Collected) -> None:
    at, (blobs, objects) = collected.at, collected.needed
    after = at.everything()
    assert set(at.place("store").keys("blobs/")) == blobs
    assert set(after["cache"]) == objects
    assert set(after["remote"]) == objects & set(collected.before["remote"])
    books = {key for key in collected.before["store"] if not key.startswith("blobs/")}
    assert {key for key in after["store"] if not key.startswith("blobs/")} == books | {
        f"retired/{at.release(GONE)}.json"
    }
    run = at.nights[GONE]["run"]
    assert {path.name for path in (at.home / "runs" / run).iterdir()} == {"lock", "outcome.json"}
    assert {path for path in collected.before["runs"] if f"/{run}/" not in path} <= set(after["runs"])
    assert at.release(GONE) not in after["copies"]
    assert at.release(LIVE) in after["copies"]
    ((version, said_of_it),) = after["tags"]
    assert (str(version), said_of_it.startswith("retention, ")) == (at.nights[GONE]["model_version"], True)
    assert at.json(*COLLECT[:-1])["gone"] == []


def test_what_is_kept_answers_holds_and_can_be_made_again(collected: Collected) -> None:
    at = collected.at
    assert at.json("recommend", "--user", "1", "--name", "files")["release"] == at.release(LIVE)
    for name in ("files", "other"):
        assert at.json("audit", "verify", "--name", name)["findings"] == []
    again = at.json("audit", "reproduce", at.other["release"], "--name", "other")  # over the data of the one that went
    assert again["release"] == at.other["release"]


def test_of_a_release_that_is_gone_every_command_says_so(collected: Collected) -> None:
    at, gone = collected.at, collected.at.release(GONE)
    sentence = f"Release {gone[:12]} is gone by retention: tests removed its files at 20"
    seq = str(at.nights[GONE]["seq"])
    of = ("--name", "files")
    for words in (
        ("rollback", "--to", seq, "--reason", "a test"),
        ("promote", at.nights[GONE]["model_version"], "--reason", "a test"),
        ("show", gone),
        ("audit", "reproduce", gone),
        ("audit", "hold", gone, "--reason", "too late"),
    ):
        assert at.refused(*words, *of).startswith(sentence), words
    traced = at.json("audit", "trace", gone, *of)
    assert traced["ended"]["kind"] == "retention"
    assert [entry["seq"] for entry in traced["entries"]] == [at.nights[GONE]["seq"]]
    assert f"{gone} of files, gone by retention, 20" in " ".join(at.text("audit", "trace", gone, *of).split())
    listed = {entry["release"]: entry["ended"] for entry in at.json("releases", *of)}
    assert [release for release, ended in listed.items() if ended] == [gone]
    day = str(LAST_DAY - timedelta(days=DAYS - 3))
    reached = at.json("audit", "impact", "--day", day, *of)["releases"]
    assert [one["ended"]["kind"] for one in reached if one["release"] == gone] == ["retention"]
    page = at.project.parent / "gone.html"
    at.json("audit", "report", gone, "-o", str(page), *of)
    assert sentence in page.read_text(encoding="utf-8")


def test_nothing_is_removed_while_a_night_is_at_work(collected: Collected) -> None:
    at = collected.at
    run = at.nights[LIVE]["run"]
    with locked(at.home / IN_USE, shared=True), locked(at.home / "runs" / run / "lock"):
        assert at.json(*COLLECT[:-1])["at_work"] == [run]
        assert at.refused(*COLLECT[:-1], "--apply").startswith(
            f"The night {run} is at work, and may need what would go."
        )
    with locked(at.home / IN_USE, shared=True):
        said_of_it = at.refused(*COLLECT[:-1], "--apply")
    assert said_of_it.startswith("A night, a refresh, a search or a promotion is at work, and may need what would go.")
    leases = Leases(at.place("store"), "other")
    held = leases.claim(leases.newest(), holder="b on elsewhere", lock="elsewhere", work="the night", seconds=600.0)
    assert held is not None
    busy = at.json(*COLLECT[:-1], "--apply", rc=1)
    assert busy["error"] == "Busy"
    assert busy["message"].startswith("The lease of other is with b on elsewhere, for the night, until ")
    leases.end(held)


def test_a_rollback_goes_round_what_is_gone_and_a_hold_that_is_lifted_frees(collected: Collected) -> None:
    at, of = collected.at, ("--name", "files")
    assert at.json("rollback", "--reason", "a test", *of)["release"] == at.release(BEFORE)
    assert at.json("rollback", "--to", str(at.nights[HELD]["seq"]), "--reason", "a test", *of)["release"] == (
        at.release(HELD)
    )
    assert at.json("rollback", "--to", str(at.nights[LIVE]["seq"]), "--reason", "a test", *of)["seq"] == 7
    assert at.json("audit", "unhold", at.release(HELD), "--reason", "settled", *of)["action"] == "lift"
    assert [(one["action"], one["reason"]) for one in at.json("audit", "holds", *of)] == [
        ("hold", "case 12"),
        ("lift", "settled"),
    ]
    freed = at.json("gc", "--keep", "0", "--apply", *of)
    assert sorted(freed["releases"]) == sorted([at.release(HELD), at.release(BEFORE)])
    assert at.refused("rollback", "--reason", "a test", *of).startswith(
        f"No release of files is left to roll back to. Release {at.release(HELD)[:12]} is gone by retention: tests"
    )
    for name, night in (("files", at.nights[LIVE]), ("other", at.other)):
        assert at.json("audit", "verify", "--name", name)["findings"] == []
        assert at.json("recommend", "--user", "1", "--name", name)["release"] == night["release"]
    tonight = at.night(5)
    assert (tonight["status"], tonight["release"]) == ("unchanged", at.release(LIVE))
