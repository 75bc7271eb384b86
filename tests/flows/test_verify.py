"""Tampering: whatever is changed behind our back is found by `audit verify`, named, and refused by load."""

import base64
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from flows.live import Live
from flows.verify import verify
from infra.errors import NightreelError
from lineage.ledger import ENTRY_TYPE, Draft, Entry
from tests.flows.end_state import FinishedNight
from tests.flows.project import run_cli, said
from tests.lineage.test_signing import OTHER

pytestmark = pytest.mark.usefixtures("prefect_server")

NAME = ("--name", "files")


@dataclass(frozen=True)
class Audited:
    """A finished night's home of which every byte may be changed, with a ledger of five entries.

    Tests before these may have run nights of other recommenders there: what is asked is asked of this `run`.
    """

    project: Path
    release: str
    run: str

    @property
    def home(self) -> Path:
        return self.project / ".nightreel"

    @property
    def ledger(self) -> Path:
        return self.home / "store/ledgers/files"

    def entry(self, seq: int) -> Path:
        return self.ledger / f"{seq:08d}.json"

    def manifest(self) -> Path:
        return self.home / f"store/manifests/{self.release}.json"

    def blob(self, part: str) -> Path:
        digest = json.loads(self.manifest().read_bytes())["parts"][part]["sha256"]
        return self.home / f"store/blobs/sha256/{digest[:2]}/{digest}"

    def dvc_object(self, out: str, file: str) -> Path:
        """The cached object of `file` in the folder `out` that dvc.lock names."""
        stages = yaml.safe_load((self.home / "runs" / self.run / "checkout/dvc.lock").read_text())["stages"].values()
        (folder,) = (o["md5"] for stage in stages for o in stage.get("outs", []) if o["path"] == out)
        listed = json.loads(self._object(folder).read_bytes())
        return self._object({one["relpath"]: one["md5"] for one in listed}[file])

    def _object(self, md5: str) -> Path:
        return self.home / f"cache/files/md5/{md5[:2]}/{md5[2:]}"

    def findings(self) -> list[tuple[str, str, str]]:
        found = verify(Live.open("files"), "all").findings
        return [(one.kind, one.what, one.fault) for one in found]

    def load_elsewhere(self) -> None:
        """What `recommend` does on a machine that trusts our key and has never seen the store before."""
        for folder in ("releases", "witness"):
            shutil.rmtree(self.home / folder, ignore_errors=True)
        _, bundle = Live.open("files").bundle()
        bundle.answer_somebody()


@pytest.fixture(scope="module")
def grown(finished: FinishedNight, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """A copy of the finished night whose ledger goes on to entry 5."""
    project = Path(shutil.copytree(finished.project, tmp_path_factory.mktemp("grown") / "project"))
    audited = Audited(project, str(finished.outcome["release"]), str(finished.outcome["run"]))
    with pytest.MonkeyPatch.context() as patch:
        _stand_in(project, patch)
        live = Live.open("files")
        for reason in ("second", "third", "fourth", "fifth"):
            head = live.ledger.proven_head()
            again = Draft(action="promote", release=audited.release, model_version="1", by=reason, reason=reason)
            live.ledger.append(again, after=head)
        live.ledger.proven_head()
    return audited


@pytest.fixture
def audited(grown: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audited:
    project = Path(shutil.copytree(grown.project, tmp_path / "project"))
    _stand_in(project, monkeypatch)
    return Audited(project, grown.release, grown.run)


def _stand_in(project: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process stand in a project and have its settings."""
    patch.chdir(project)
    for name in [name for name in os.environ if name.startswith("NIGHTREEL_")]:
        patch.delenv(name)


def flip(path: Path) -> None:
    """Change one byte in the middle of a file, also of a read-only one."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_nobody_touched_holds(audited: Audited) -> None:
    done = verify(Live.open("files"), "all")
    assert done.findings == ()
    assert (done.releases, done.nights, done.entries) == (1, 1, 5)
    assert done.signature.endswith("(a local key, generated on this machine)")
    assert verify(Live.open("files"), audited.release[:8]).findings == ()
    audited.load_elsewhere()


PARTS = {
    "model": "model/weights.safetensors",
    "index": "index/index.json",
    "vocabulary": "vocabulary.parquet",
    "snapshot manifest": "record/snapshot.json",
    "verdict": "record/verdict.json",
    "evaluation": "record/evaluate-itemknn.json",
    "dvc.lock": "record/dvc.lock",
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_a_flipped_byte_in_a_part_of_the_release(audited: Audited, part: str) -> None:
    flip(audited.blob(part))
    named = [what for kind, what, _ in audited.findings() if kind == "release part"]
    assert named == [
        f"{part} of release {audited.release[:12]} ({audited.blob(part).relative_to(audited.home / 'store')})"
    ]
    with pytest.raises(NightreelError, match=f"is damaged in the store: {part} differs"):
        audited.load_elsewhere()


def test_a_flipped_byte_in_the_manifest(audited: Audited) -> None:
    flip(audited.manifest())
    assert ("manifest", f"manifests/{audited.release}.json") in [found[:2] for found in audited.findings()]
    with pytest.raises(NightreelError, match="was changed in the store"):
        audited.load_elsewhere()


@pytest.mark.parametrize(
    ("out", "file"),
    [
        ("data/accepted", "events.parquet"),
        ("data/quarantine", "events.parquet"),
        ("data/prepared", "index/users.parquet"),
        ("data/candidates/itemknn", "weights.safetensors"),
    ],
)
def test_a_flipped_byte_in_what_dvc_keeps(audited: Audited, out: str, file: str) -> None:
    damaged = audited.dvc_object(out, file)
    flip(damaged)
    found = audited.findings()
    assert [kind for kind, _, _ in found] == ["DVC object"]
    assert found[0][1].startswith(f"{out}/{file} of run ")
    assert found[0][2].startswith(f"DVC object {damaged.parent.name}{damaged.name} in the cache has the MD5 ")


def test_a_flipped_byte_in_a_landed_file_in_the_runs_dvc_lock_and_in_the_index(audited: Audited) -> None:
    (landed, *_) = sorted((audited.home / "landing/files/files").glob("*.parquet"))
    (index,) = (audited.home / "store/snapshots/files").glob("*/users.parquet")
    flip(landed)
    flip(index)
    run = audited.home / "runs" / audited.run
    lock = run / "checkout/dvc.lock"
    lock.write_text(lock.read_text().replace("nfiles: 2", "nfiles: 3", 1))
    assert [found[:2] for found in audited.findings()] == [
        ("run checkout", f"{run.name}: dvc.lock"),
        ("snapshot index", str(index.relative_to(audited.home / "store"))),
        ("landed file", landed.name),
    ]


def test_a_flipped_byte_in_the_attestation_and_one_by_another_key(audited: Audited) -> None:
    path = audited.home / f"store/attestations/{audited.release}.json"
    whole = path.read_bytes()
    flip(path)
    assert [found[:2] for found in audited.findings()] == [("attestation", f"attestations/{audited.release}.json")]
    with pytest.raises(NightreelError, match="attestation"):
        audited.load_elsewhere()
    statement = verify_payload(whole)
    path.write_bytes(OTHER.envelope(statement, payload_type="application/vnd.in-toto+json"))
    ((kind, _, fault),) = audited.findings()
    assert kind == "attestation"
    assert f"is signed by the key {OTHER.keyid[:12]}, which is not trusted here" in fault
    with pytest.raises(NightreelError, match="not trusted here"):
        audited.load_elsewhere()
    path.unlink()
    assert [fault for _, _, fault in audited.findings()] == [f"Release {audited.release[:12]} has no attestation."]
    with pytest.raises(NightreelError, match="has no attestation"):
        audited.load_elsewhere()


def verify_payload(envelope: bytes) -> bytes:
    return base64.b64decode(json.loads(envelope)["payload"])


def _dropped_in_the_middle(audited: Audited) -> None:
    audited.entry(3).unlink()


def _cut_short(audited: Audited) -> None:
    audited.entry(5).write_bytes(audited.entry(5).read_bytes()[:-20])


def _last_removed(audited: Audited) -> None:
    audited.entry(5).unlink()


def _swapped(audited: Audited) -> None:
    second, third = audited.entry(2).read_bytes(), audited.entry(3).read_bytes()
    audited.entry(2).write_bytes(third)
    audited.entry(3).write_bytes(second)


def _replayed(audited: Audited) -> None:
    audited.entry(6).write_bytes(audited.entry(2).read_bytes())


def _flipped(audited: Audited) -> None:
    path = audited.entry(2)
    path.write_bytes(path.read_bytes().replace(b'"reason":"second"', b'"reason":"secomd"'))


def _signed_by_another(audited: Audited) -> None:
    entry = Entry.model_validate_json(audited.entry(5).read_bytes())
    signature = OTHER.sign(entry.signed_bytes(), payload_type=ENTRY_TYPE)
    audited.entry(5).write_bytes(entry.model_copy(update={"signature": signature}).encoded())


@pytest.mark.parametrize(
    ("tamper", "named", "fault"),
    [
        (_dropped_in_the_middle, 3, "Entry 3 of the ledger of files is missing"),
        (_cut_short, 5, "Entry 5 of the ledger of files cannot be read"),
        (_last_removed, 5, "although this machine has seen entry 5"),
        (_swapped, 2, "Entry 2 of the ledger of files says that it is entry 3"),
        (_replayed, 6, "Entry 6 of the ledger of files says that it is entry 2"),
        (_flipped, 2, "does not fit its content"),
        (_signed_by_another, 5, "is signed by the key"),
    ],
)
def test_a_ledger_that_was_tampered_with(
    audited: Audited, tamper: Callable[[Audited], None], named: int, fault: str
) -> None:
    tamper(audited)
    faults = [f"{what}: {told}" for kind, what, told in audited.findings() if kind.startswith("ledger")]
    assert any(fault in told and (f"{named:08d}" in told or told.startswith("head: ")) for told in faults), faults
    # of an entry that was cut off only a machine can tell that has seen it
    load = Live.open("files").bundle if tamper is _last_removed else audited.load_elsewhere
    with pytest.raises(NightreelError, match=r"[Tt]he ledger of files"):
        load()


def test_an_alias_that_somebody_moved(audited: Audited) -> None:
    live = Live.open("files")
    with live.registry._asked() as client:
        client.delete_registered_model_alias("files", "champion")
    ((kind, what, fault),) = audited.findings()
    assert (kind, what) == ("alias", "champion")
    assert fault == "MLflow has it on version None, and ledger entry 5 made 1 live"


def test_the_command_exits_with_1_and_names_what_differs(audited: Audited) -> None:
    holds = run_cli(audited.project, "audit", "verify", *NAME)
    assert holds.returncode == 0, said(holds)
    assert "HOLDS  files" in holds.stdout
    flip(audited.blob("model/weights.safetensors"))
    fails = run_cli(audited.project, "audit", "verify", audited.release[:10], *NAME, "--json")
    assert fails.returncode == 1, said(fails)
    (finding,) = json.loads(fails.stdout)["findings"]
    assert finding["what"].startswith("model/weights.safetensors of release ")
    recommended = run_cli(audited.project, "recommend", "--user", "1", *NAME)
    assert recommended.returncode == 0, said(recommended)  # this machine has a whole copy of its own
    shutil.rmtree(audited.home / "releases")
    refused = run_cli(audited.project, "recommend", "--user", "1", *NAME)
    assert refused.returncode == 1
    assert "model/weights.safetensors differs" in " ".join(refused.stderr.split())
