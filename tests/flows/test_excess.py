"""What retention finds of runs that never ran: shared, young, killed, refreshed, of another recommender, on hold."""

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flows.gc import Collector
from flows.live import Live
from infra.dvc_objects import CACHE, object_key
from infra.errors import Refused
from infra.registry import Registry
from infra.settings import Settings
from infra.stores import ObjectStore, open_store
from lineage.books import Books
from lineage.holds import Holds
from lineage.manifest import build
from lineage.releases import blob_key
from lineage.retention import YOUNG
from lineage.retirement import retire, retired, retirement
from lineage.signing import Signer
from tasks.params import Gate
from tests.flows.project import ROOT
from tests.flows.test_holdings import GONE, SHARED, Installation, objects
from tests.lineage.test_manifest import FACTS

STRAY = b"of a release that was never published"


class Retained(Installation):
    """An installation whose recommender `reel` has had three releases live: `a`, `b` and `c`.

    Home, store and remote are those of the environment.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.books = Books(Settings(), "reel", require_signature=False)

    def fill(self) -> "Retained":
        """`theirs` has the data of `b`; `d` never went live; a killed run and objects that nobody names."""
        self.a, self.b, self.c = (self.run(f"{at}-{who}", [who]) for at, who in enumerate("abc", start=1))
        self.theirs = self.run("4-theirs", ["b"], name="other")
        self.d = self.run("5-d", ["d"])
        self.run("6-killed", ["e"], recorded=False)
        for key in self.places[CACHE].keys("files/"):
            self.places["remote"].put_if_absent(key, self.places[CACHE].get(key))
        self.books.store.put_if_absent(_blob(STRAY), STRAY)
        self.object(STRAY)
        for release in (self.a, self.b, self.c):
            self.go_live(release)
        return self

    @classmethod
    def found(cls, project: Path) -> "Retained":
        """One that was filled before."""
        at = cls.__new__(cls)
        at.project, at.home = project, project / ".nightreel"
        at.books = Books(Settings(), "reel", require_signature=False)
        return at

    @property
    def places(self) -> dict[str, ObjectStore]:
        """DVC's cache and its remote."""
        settings = self.books.settings
        remote = open_store(str(settings.remote), settings)
        return {CACHE: open_store(str(self.home / "cache"), settings), "remote": remote}

    def collector(self, *, days: float = 0.0, name: str = "reel") -> Collector:
        books = Books(self.books.settings, name, require_signature=False)
        return Collector(Live(books, Gate()), self.project, datetime.now(UTC) + timedelta(days=days))

    def blobs(self, *releases: str) -> set[str]:
        """Keys of the parts of these releases, without what says how they were made."""
        parts = (self.books.releases.manifest(release).parts.items() for release in releases)
        return {blob_key(part) for each in parts for path, part in each if not path.startswith("record/")}

    @property
    def stored(self) -> set[str]:
        """Keys of the parts in the store, records left out."""
        records = {
            blob_key(part)
            for one in self.books.releases.manifests()
            for path, part in one.parts.items()
            if path.startswith("record/")
        }
        return set(self.books.store.keys("blobs/")) - records

    def left_of(self, users: str) -> str:
        """Those of `users` of whose runs DVC has the events still, in the cache and in the remote."""
        each = [{user for user in users if place.exists(object_key(objects([user])))} for place in self.places.values()]
        assert each[0] == each[1]
        return "".join(sorted(each[0]))


def _blob(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"blobs/sha256/{digest[:2]}/{digest}"


@pytest.fixture
def at(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, database: Path) -> Retained:
    project = tmp_path / "project"
    places = {"HOME": project / ".nightreel", "STORE": f"{store_url}/store", "REMOTE": f"{store_url}/remote"}
    for name, where in places.items():
        monkeypatch.setenv(f"NIGHTREEL_{name}", str(where))
    made = Retained(project).fill()
    shutil.copy(database, made.home / "mlflow.db")
    monkeypatch.chdir(project)
    return made


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's own, empty: to make it takes seconds."""
    home = tmp_path_factory.mktemp("mlflow")
    Registry(Settings(home=home), "reel").versions()
    return home / "mlflow.db"


def test_a_week_keeps_what_was_never_live_and_then_it_goes(at: Retained) -> None:
    young = at.collector().collect(0, apply=True)
    assert {one["release"]: one["why"] for one in young["kept"]} == {at.c: "live", at.d: "young"}
    assert young["releases"] == sorted([at.a, at.b])
    assert at.stored == at.blobs(at.c, at.d, at.theirs) | {_blob(STRAY)}
    assert at.left_of("abcde") == "bcde"
    assert not at.has(hashlib.md5(STRAY).hexdigest())  # no other machine writes into this cache

    old = at.collector(days=YOUNG.days).collect(0, apply=True)
    assert old["releases"] == [at.d]
    assert at.stored == at.blobs(at.c, at.theirs)
    assert at.left_of("abcde") == "bc"
    left = {run.name for run in (at.home / "runs").glob("*") if (run / "checkout").exists()}
    assert left == {"3-c", "4-theirs"}
    assert at.collector(days=YOUNG.days).collect(0, apply=False)["gone"] == []


def test_what_two_recommenders_share_goes_with_the_last_that_needs_it(at: Retained) -> None:
    at.collector().collect(0, apply=True)
    assert at.left_of("b") == "b"
    assert at.collector(days=YOUNG.days, name="other").collect(0, apply=True)["releases"] == [at.theirs]
    assert at.left_of("bc") == "c"
    assert at.has(hashlib.md5(SHARED).hexdigest())  # the catalogue, of all


def test_a_refreshed_release_needs_the_one_that_was_trained(at: Retained) -> None:
    folder = at.project / "generation"
    (folder / "record").mkdir(parents=True)
    (folder / "record/refresh.json").write_text(json.dumps({"model_release": at.a}))
    refreshed = at.books.releases.publish(folder, build(folder, FACTS.model_copy(update={"name": "reel"})))
    at.go_live(refreshed)
    done = at.collector().collect(0, apply=True)
    assert {one["release"]: one["why"] for one in done["kept"]} == {
        refreshed: "live",
        at.d: "young",
        at.a: f"needed by {refreshed[:12]}",
    }
    assert at.left_of("abc") == "ab"
    assert (at.home / "runs/1-a/checkout").exists()


def test_nothing_goes_while_what_a_kept_release_needs_cannot_be_told(at: Retained) -> None:
    raw = at.home / "runs/3-c/checkout/data/raw"
    listed = at.cached(raw)
    for place in at.places.values():
        place.delete(object_key(listed))
    with pytest.raises(Refused, match=r"^The list of the files of data/raw of run 3-c, which is kept, is nowhere"):
        at.collector().collect(0, apply=True)
    assert retired(at.books.store) == set()


def test_a_hold_keeps_a_release_from_retention_and_from_an_erasure(at: Retained) -> None:
    held = at.run("7-held", ["ann", GONE])
    holds = Holds(at.books.store, "reel", at.books.trust)
    holds.hold(held, signer=at.books.signer, by="ada", reason="case 12")
    why = {one["release"]: one["why"] for one in at.collector(days=YOUNG.days).collect(0, apply=True)["kept"]}
    assert why == {at.c: "live", held: "hold"}
    sentence = (
        rf"^The erasure of a viewer of reel meets a legal hold: {held[:12]} by ada \(case 12\)\. Nothing has been"
    )
    with pytest.raises(Refused, match=sentence):
        at.erase(apply=True)
    plan = at.erase()
    assert plan["erasure"]["seq"] == 1  # and no later night takes the viewer in
    assert [(hold["release"], hold["reason"]) for hold in plan["held"]] == [(held, "case 12")]
    assert at.has(objects(["ann", GONE]))
    holds.lift(held, signer=at.books.signer, by="ada", reason="settled")
    assert at.erase(apply=True)["holdings"] == []


def test_a_retirement_that_nobody_trusted_signed_removes_nothing(at: Retained) -> None:
    stranger = Signer(Ed25519PrivateKey.generate(), local=False)
    retire(at.books.store, stranger, at.c, by="eve", reason="x", kind="retention")
    why = {one["release"]: one["why"] for one in at.collector().collect(0, apply=True)["kept"]}
    assert why == {at.c: "live", at.d: "young"}
    assert at.blobs(at.c) <= at.stored
    assert at.left_of("c") == "c"


def test_who_ended_a_release_and_why_is_signed(at: Retained) -> None:
    at.collector().collect(1, apply=True)
    ended = retirement(at.books.store, at.a)
    assert ended is not None
    assert (ended.kind, ended.by, ended.reason) == ("retention", at.books.settings.who, "nightreel gc --keep 1")
    assert retirement(at.books.store, at.b) is None


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("every", [pytest.param(29, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("store_url", ["folder"], indirect=True)
def test_killed_at_any_instruction_it_ends_the_same(at: Retained, tmp_path: Path, every: int) -> None:
    for folder in FOLDERS:
        shutil.copytree(tmp_path / folder, tmp_path / "before" / folder, symlinks=True)
    at.collector().collect(0, apply=True)
    end, step = _left(tmp_path), 0
    while True:
        for folder in FOLDERS:
            shutil.rmtree(tmp_path / folder)
            shutil.copytree(tmp_path / "before" / folder, tmp_path / folder, symlinks=True)
        command = [sys.executable, "-c", KILLED, str(at.project), str(step)]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        assert code in (0, 9)
        if code == 0:
            break
        at.collector().collect(0, apply=True)
        assert _left(tmp_path) == end, step
        step += every
    assert step > 58  # there are at least so many changes to die before


FOLDERS = ("project", "store")
# A collection that ends, like a kill, before it changes the disk for the so manieth time.
KILLED = """
import os, sys
from pathlib import Path
from tests.flows.test_excess import Retained

left = int(sys.argv[2])
changes = {"os.remove", "os.rmdir", "os.link", "os.rename", "os.mkdir", "subprocess.Popen", "sqlite3.connect"}

def count(event, _):
    global left
    if event in changes:
        if left == 0:
            os._exit(9)
        left -= 1

at = Retained.found(Path(sys.argv[1]))
os.chdir(at.project)
sys.addaudithook(count)
at.collector().collect(0, apply=True)
"""


def _left(root: Path) -> list[str]:
    """Names of all that is there, but for locks, leases, torn writes and what MLflow and git keep for themselves."""
    files = (path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file())
    told = (path for path in map(str, files) if not path.endswith("lock") and "/mlflow" not in path)
    told = (path for path in told if not any(torn in path for torn in ("/leases/", "/.partial/", "/witness/.")))
    return sorted(path for path in told if "/.git/" not in path or path.endswith("/gitdir"))
