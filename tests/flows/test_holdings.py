"""What an erasure finds and takes away of runs that never ran: shared, unrecorded, killed, of another recommender."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml

from flows.erase import Eraser
from infra.checkout import Checkout
from infra.errors import Refused
from infra.git import git
from infra.settings import Settings
from lineage.books import Books
from lineage.ledger import Draft
from lineage.manifest import build
from lineage.retirement import is_retired
from lineage.runs import RunRecord, put_record
from lineage.snapshots import put_index, write_index
from tests.flows.project import ROOT, commit_all
from tests.lineage.test_manifest import FACTS

GONE = "gone"


def table(**columns: list[str]) -> bytes:
    data = io.BytesIO()
    pl.DataFrame(columns).write_parquet(data)
    return data.getvalue()


SHARED = table(video_id=["a", "b"])


@dataclass
class Installation:
    """A checkout and a home folder with runs of several recommenders."""

    project: Path

    def __post_init__(self) -> None:
        self.project.mkdir(parents=True)
        for name in ("params.yaml", "dvc.yaml", ".gitignore"):
            shutil.copy(ROOT / name, self.project)
        git("init", "-q", "-b", "main", at=self.project)
        commit_all(self.project, "Start")
        self.home = self.project / ".nightreel"
        self.books = Books(Settings(home=self.home), "reel", require_signature=False)

    def run(self, run: str, users: list[str], *, name: str = "reel", recorded: bool = True, here: bool = True) -> str:
        """A run over events of these users and the shared catalogue; its release, '' when it has none."""
        checkout = Checkout(self.project, self.home / "runs" / run)
        checkout.folder.mkdir(parents=True)
        git("worktree", "add", "-q", "--detach", str(checkout.path), "HEAD", at=self.project)
        raw = checkout.path / "data/raw"
        (raw / "events").mkdir(parents=True)
        (raw / "events/day.parquet").write_bytes(table(user_id=users, video_id=["a"] * len(users)))
        (raw / "videos.parquet").write_bytes(SHARED)
        (checkout.path / "data/landed.json").write_text(json.dumps({"name": name}))
        outs = [{"path": "data/raw", "hash": "md5", "md5": self.cached(raw)}]
        (checkout.path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest": {"cmd": "x", "outs": outs}}}))
        (checkout.folder / "outcome.json").write_text("{}")
        commit = checkout.record(f"Night {run}: a test")
        release = self._release(checkout, users, commit, name) if recorded else ""
        if not here:
            git("worktree", "remove", "--force", str(checkout.path), at=self.project)
        return release

    def cached(self, folder: Path) -> str:
        """Put a folder into DVC's cache; its MD5."""
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        listed = [{"md5": self.object(file.read_bytes()), "relpath": str(file.relative_to(folder))} for file in files]
        return self.object(json.dumps(listed).encode(), suffix=".dir")

    def object(self, data: bytes, suffix: str = "") -> str:
        """Put an object into DVC's cache; its MD5."""
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
        path = self.home / "cache/files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return md5

    def publish(self, users: list[str], name: str, lock: str = "") -> tuple[str, str]:
        """Store a release that serves these users; it and its snapshot."""
        folder = self.home.parent / "made"
        (folder / "record").mkdir(parents=True)
        (folder / "viewers.parquet").write_bytes(table(user_id=users))
        (folder / "record/dvc.lock").write_text(lock)
        (folder / "record/snapshot.json").write_text(json.dumps(users))
        manifest = build(folder, FACTS.model_copy(update={"name": name}))
        release = self.books.releases.publish(folder, manifest)
        shutil.rmtree(folder)
        return release, manifest.parts["record/snapshot.json"].sha256

    def _release(self, checkout: Checkout, users: list[str], commit: str, name: str) -> str:
        release, snapshot = self.publish(users, name, (checkout.path / "dvc.lock").read_text())
        put_record(
            self.books.store,
            RunRecord(
                name=name, run=checkout.run, commit=commit, code=commit, clean=True, as_of="2026-01-01",
                snapshot=snapshot, landed=(), quarantined={}, packages={}, candidate="ease", verdict=True,
                release=release, model_version=None, at="2026-01-01T03:00:00.000000Z",
            ),
        )  # fmt: skip
        index = checkout.folder / "index"
        write_index(pl.Series(users), pl.Series(["a", "b"]), index)
        put_index(self.books.store, name, snapshot, index)
        shutil.rmtree(index)
        return release

    def go_live(self, release: str) -> None:
        head = self.books.ledger.head()
        draft = Draft(action="release", release=release, by="ada", reason="passed the gate")
        self.books.ledger.append(draft, after=head)

    def has(self, md5: str) -> bool:
        """Whether DVC's cache has the object."""
        return (self.home / "cache/files/md5" / md5[:2] / md5[2:]).exists()

    def erase(self, *, apply: bool = False) -> dict:
        return Eraser.of("reel", GONE).erase("asked", apply=apply)


@dataclass
class Made:
    """An installation and the names of what is in it."""

    at: Installation
    held: str
    free: str
    theirs: str
    stray: str
    unclaimed: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    at = Installation(tmp_path_factory.mktemp("holdings") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at.project)
        patch.setenv("NIGHTREEL_HOME", str(at.home))
        free = at.run("1-free", ["ann"])
        held = at.run("2-held", ["ann", GONE])
        theirs = at.run("3-theirs", ["ann", GONE], name="other")
        at.run("4-measured", ["bob", GONE], recorded=False)
        at.run("5-gone-here", ["cid", GONE], recorded=False, here=False)
        at.run("6-free-and-gone-here", ["cid"], recorded=False, here=False)
        assert at.run("7-same-data", ["ann", GONE]) == held
        stray, _ = at.publish(["dan", GONE], "reel")
        unclaimed = at.object(table(user_id=[GONE]))
        at.object(table(video_id=[GONE]))
        at.go_live(held)
        at.go_live(free)
        yield Made(at, held, free, theirs, stray, unclaimed)


def objects(users: list[str]) -> str:
    """MD5 of the events of these users."""
    return hashlib.md5(table(user_id=users, video_id=["a"] * len(users)), usedforsecurity=False).hexdigest()


def test_the_plan_names_what_holds_the_viewer_and_nothing_else(made: Made) -> None:
    told = made.at.erase()
    found = {(row["kind"], row["what"]) for row in told["holdings"]}
    assert {what for kind, what in found if kind == "release"} == {made.held, made.stray}
    assert {what for kind, what in found if kind == "run folder"} == {"2-held", "4-measured", "7-same-data"}
    md5s = {row["where"].removeprefix("cache: ") for row in told["holdings"] if row["kind"] == "DVC object"}
    alone = {objects(["bob", GONE]), objects(["cid", GONE]), made.unclaimed}
    assert {md5 for md5 in md5s if not md5.endswith(".dir")} == alone
    assert told["shared"] == {"other": 3}  # the events, the catalogue and the folder of both
    assert {row["remove"] for row in told["holdings"]} == {f"nightreel audit erase --user {GONE} --reason TEXT --apply"}
    assert (told["live"], told["sources"], told["applied"]) == (None, [], False)


def test_it_is_refused_while_the_live_release_holds_the_viewer(made: Made) -> None:
    made.at.go_live(made.held)
    assert made.at.erase()["live"] == made.held
    with pytest.raises(Refused, match=rf"^The live release {made.held[:12]} of reel holds the viewer\. Run `nightreel"):
        made.at.erase(apply=True)
    assert not is_retired(made.at.books.store, made.held)
    made.at.go_live(made.free)


def test_applying_takes_all_of_it_away_and_leaves_the_rest(made: Made) -> None:
    at = made.at
    assert at.erase(apply=True)["holdings"] == []
    retired = {one: is_retired(at.books.store, one) for one in (made.held, made.stray, made.free, made.theirs)}
    assert retired == {made.held: True, made.stray: True, made.free: False, made.theirs: False}
    assert not any(at.has(md5) for md5 in (objects(["bob", GONE]), objects(["cid", GONE]), made.unclaimed))
    kept = (objects(["ann", GONE]), objects(["ann"]), objects(["cid"]), hashlib.md5(SHARED).hexdigest())
    assert all(at.has(md5) for md5 in kept)
    for run in ("2-held", "4-measured", "7-same-data"):
        assert sorted(path.name for path in (at.home / "runs" / run).iterdir()) == ["lock", "outcome.json"]
    assert (at.home / "runs/1-free/checkout/dvc.lock").exists()
    assert (at.home / "runs/3-theirs/checkout/dvc.lock").exists()
    assert len(git("worktree", "list", at=at.project).splitlines()) == 3  # the project, 1-free, 3-theirs
    assert at.books.releases.open(made.free).is_dir()
    with pytest.raises(Refused, match="was retired"):
        at.books.releases.open(made.held)
    viewers = at.books.releases.manifest(made.theirs).parts["viewers.parquet"]
    assert at.books.store.exists(f"blobs/sha256/{viewers.sha256[:2]}/{viewers.sha256}")


def test_copies_on_a_machine_that_did_not_take_part_are_found_by_their_data(made: Made) -> None:
    at = made.at
    data = at.home / "runs/2-held/checkout/data"
    (data / "raw").mkdir(parents=True)
    (data / "landed.json").write_text(json.dumps({"name": "reel"}))
    (data / "raw/events.parquet").write_bytes(table(user_id=[GONE]))
    found = {(row["kind"], row["what"]) for row in at.erase()["holdings"]}
    assert {what for kind, what in found if kind == "run folder"} == {"2-held"}
    assert at.erase(apply=True)["holdings"] == []
    assert not data.exists()
