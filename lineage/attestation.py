"""The attestation of a release: a signed in-toto statement of how it came to be.

An in-toto statement v1 (https://in-toto.io/Statement/v1) with the predicate SLSA provenance v1
(https://slsa.dev/spec/v1.0/provenance) in a DSSE envelope, stored under `attestations/RELEASE.json`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.stores import Missing, ObjectStore
from lineage.canonical import canonical
from lineage.manifest import SNAPSHOT_PART, Manifest
from lineage.signing import Signer, Trust, Untrusted

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:nightreel:night:v1"
BUILDER = "urn:nightreel:builder"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Origin:
    """What the release's own files do not say: the run, its commits, and whether the code was all committed."""

    run: str
    commit: str
    clean: bool


def key_of(release: str) -> str:
    """Where the attestation of `release` is stored."""
    return f"attestations/{release}.json"


def attest(store: ObjectStore, signer: Signer, folder: Path, manifest: Manifest, origin: Origin) -> None:
    """Sign and store the statement over the release in `folder`; one that is there stays."""
    statement = canonical(_statement(folder, manifest, origin))
    store.put_if_absent(key_of(manifest.release), signer.envelope(statement, payload_type=PAYLOAD_TYPE))


def check_attestation(store: ObjectStore, trust: Trust, manifest: Manifest) -> tuple[dict[str, Any], str]:
    """The statement over a release, and the id of the trusted key that signed it.

    Raises:
        Untrusted: it is missing, not signed by a trusted key, or about other bytes than those of `manifest`.
    """
    what = f"The attestation of release {manifest.release[:12]}"
    try:
        envelope = store.get(key_of(manifest.release))
    except Missing:
        raise Untrusted(f"Release {manifest.release[:12]} has no attestation.") from None
    payload, keyid = trust.open(envelope, payload_type=PAYLOAD_TYPE, what=what)
    statement: dict[str, Any] = json.loads(payload)
    if statement.get("subject") != _subjects(manifest):
        raise Untrusted(f"{what} is about other files than the release holds.")
    return statement, keyid


def _subjects(manifest: Manifest) -> list[dict[str, Any]]:
    """The manifest and every part: model, index, vocabulary, snapshot, validation, evaluation, verdict."""
    digests = {MANIFEST: manifest.release} | {name: part.sha256 for name, part in manifest.parts.items()}
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())]


def _statement(folder: Path, manifest: Manifest, origin: Origin) -> dict[str, Any]:
    return {
        "_type": STATEMENT,
        "subject": _subjects(manifest),
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": _definition(folder, manifest, origin),
            "runDetails": {"builder": {"id": BUILDER}, "metadata": {"invocationId": origin.run}},
        },
    }


def _definition(folder: Path, manifest: Manifest, origin: Origin) -> dict[str, Any]:
    params = yaml.safe_load((folder / "record/params.yaml").read_text(encoding="utf-8"))
    trained = _read(folder / f"record/train-{manifest.candidate}.json")
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {"name": manifest.name, "as_of": manifest.as_of, "params": params},
        "internalParameters": {
            "seed": params.get("seed"),
            "candidate": manifest.candidate,
            "device": trained["device"],
            "backend": trained["software"],
            "python": manifest.environment.python,
            "run_commit": origin.commit,
            "tree": "clean" if origin.clean else "with uncommitted changes",
        },
        "resolvedDependencies": [
            {"name": "code", "digest": {"gitCommit": manifest.code}},
            {"name": "requirements.lock", "digest": {"sha256": manifest.environment.lock}},
            *_landed(_read(folder / "record/landed.json")),
            *_snapshot(_read(folder / SNAPSHOT_PART)),
            *({"uri": f"pkg:pypi/{name}@{version}"} for name, version in sorted(manifest.environment.packages.items())),
        ],
    }


def _landed(landed: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"landed/{part['file']}",
            "digest": {"sha256": part["sha256"]},
            "annotations": {"table": part["table"], "origins": part["origins"], "days": len(part["days"])},
        }
        for part in landed["parts"]
    ]


def _snapshot(snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": path, "digest": {"sha256": file["sha256"]}, "annotations": {"rows": file["rows"]}}
        for path, file in snapshot["files"].items()
    ]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
