"""The attestation of a release, and what refuses to open one without it."""

import base64
import json
from pathlib import Path

import pytest

from infra.errors import Refused
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store
from lineage.attestation import Origin, attest, check_attestation, key_of
from lineage.manifest import Manifest, build
from lineage.releases import Releases
from lineage.retirement import is_retired, retire
from lineage.signing import Trust, Untrusted
from tests.lineage.test_manifest import FACTS
from tests.lineage.test_signing import OTHER, SIGNER, TRUST

ORIGIN = Origin(run="2016-10-17-abc", commit="9" * 40, clean=True)
LANDED = {
    "table": "events",
    "file": "f.parquet",
    "sha256": "1" * 64,
    "bytes": 7,
    "origins": [{"uri": "s3://logs/1.csv", "bytes": 9, "sha256": "2" * 64, "etag": "e"}],
    "days": {"2016-10-16": {"rows": 3}},
}
SNAPSHOT = {"files": {"data/accepted/events.parquet": {"sha256": "3" * 64, "bytes": 5, "rows": 3}}}


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url, Settings())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a release holds, as far as an attestation looks at it."""
    record = tmp_path / "made/record"
    record.mkdir(parents=True)
    (record / "params.yaml").write_text("seed: 7\ncandidates: [ease]\n")
    (record / "train-ease.json").write_text(json.dumps({"device": "cpu (x86_64)", "software": "numpy 2.4.0"}))
    (record / "landed.json").write_text(json.dumps({"parts": [LANDED]}))
    (record / "snapshot.json").write_text(json.dumps(SNAPSHOT))
    return tmp_path / "made"


def published(store: ObjectStore, folder: Path, cache: Path, trust: Trust = TRUST) -> tuple[Releases, Manifest]:
    releases, manifest = Releases(store, cache, trust=trust), build(folder, FACTS)
    releases.publish(folder, manifest)
    return releases, manifest


def test_the_statement_is_over_every_part_and_says_what_it_was_made_of(folder: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    _, manifest = published(store, folder, tmp_path / "cache")
    attest(store, SIGNER, folder, manifest, ORIGIN)
    statement, keyid = check_attestation(store, TRUST, manifest)
    assert keyid == SIGNER.keyid
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert digests == {"manifest.json": manifest.release, **{name: p.sha256 for name, p in manifest.parts.items()}}
    built = statement["predicate"]["buildDefinition"]
    assert built["externalParameters"]["params"] == {"seed": 7, "candidates": ["ease"]}
    assert built["internalParameters"] == {
        "seed": 7,
        "candidate": "ease",
        "device": "cpu (x86_64)",
        "backend": "numpy 2.4.0",
        "python": "3.11.9",
        "run_commit": "9" * 40,
        "tree": "clean",
    }
    assert built["resolvedDependencies"] == [
        {"name": "code", "digest": {"gitCommit": "c" * 40}},
        {"name": "requirements.lock", "digest": {"sha256": "b" * 64}},
        {
            "name": "landed/f.parquet",
            "digest": {"sha256": "1" * 64},
            "annotations": {"table": "events", "origins": LANDED["origins"], "days": 1},
        },
        {"name": "data/accepted/events.parquet", "digest": {"sha256": "3" * 64}, "annotations": {"rows": 3}},
        {"uri": "pkg:pypi/keras@3.15.1"},
        {"uri": "pkg:pypi/numpy@2.4.0"},
    ]
    assert statement["predicate"]["runDetails"]["metadata"] == {"invocationId": "2016-10-17-abc"}


def test_a_release_is_opened_only_with_a_trusted_attestation(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    releases, manifest = published(store, folder, tmp_path / "cache")
    with pytest.raises(Untrusted, match=rf"^Release {manifest.release[:12]} has no attestation\.$"):
        releases.open(manifest.release)
    attest(store, SIGNER, folder, manifest, ORIGIN)
    assert (releases.open(manifest.release) / "record/params.yaml").exists()
    attest(store, OTHER, folder, manifest, ORIGIN)  # a second one changes nothing
    assert check_attestation(store, TRUST, manifest)[1] == SIGNER.keyid


def test_a_foreign_attestation_is_refused_where_signatures_are_required(folder: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    releases, manifest = published(store, folder, tmp_path / "cache")
    attest(store, OTHER, folder, manifest, ORIGIN)
    with pytest.raises(Untrusted, match="which is not trusted here"):
        releases.open(manifest.release)
    lenient, _ = published(store, folder, tmp_path / "cache", trust=Trust(TRUST.keys, required=False))
    assert lenient.open(manifest.release).exists()


def test_the_attestation_of_another_release_is_no_help(folder: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    releases, first = published(store, folder, tmp_path / "cache")
    attest(store, SIGNER, folder, first, ORIGIN)
    (folder / "more").write_text("more")
    second = build(folder, FACTS)
    releases.publish(folder, second)
    store.put_if_absent(key_of(second.release), store.get(key_of(first.release)))
    with pytest.raises(Untrusted, match="is about other files than the release holds"):
        releases.open(second.release)


def test_a_changed_statement_is_refused(folder: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    releases, manifest = published(store, folder, tmp_path / "cache")
    attest(store, SIGNER, folder, manifest, ORIGIN)
    path = tmp_path / "store" / key_of(manifest.release)
    envelope = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["buildDefinition"]["internalParameters"]["tree"] = "with uncommitted changes"
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(envelope))
    with pytest.raises(Untrusted, match="does not fit its content"):
        releases.open(manifest.release)


def test_a_retired_release_is_never_opened_again(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    releases, manifest = published(store, folder, tmp_path / "cache")
    attest(store, SIGNER, folder, manifest, ORIGIN)
    assert not is_retired(store, manifest.release)
    for _ in range(2):
        retire(store, SIGNER, manifest.release, by="ada", reason="erasure 1")
    assert releases.is_retired(manifest.release)
    with pytest.raises(Refused, match=f"^Release {manifest.release[:12]} was retired"):
        releases.open(manifest.release)
