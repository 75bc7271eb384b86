"""Prove what a night worked on: its commit, the files that DVC keeps for it, what had landed, MLflow's alias."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.console import track
from infra.dvc_objects import FOLDER, Copy, DvcObjects
from infra.errors import NightreelError
from infra.git import git, show
from infra.registry import Registry
from lineage.books import Books
from lineage.canonical import sha256, sha256_of_file
from lineage.manifest import SNAPSHOT_PART, Manifest
from lineage.recorded import trained_release
from lineage.retirement import is_retired
from lineage.runs import RunRecord
from lineage.verify import Finding, stored_json

# files of a run's commit by the part of the release that holds a copy
COMMITTED = {
    "record/dvc.lock": "dvc.lock",
    "record/params.yaml": "params.yaml",
    "record/landed.json": "data/landed.json",
    "record/validation.json": "metrics/validation.json",
    "record/prepare.json": "metrics/prepare.json",
    "record/index.json": "metrics/index.json",
    "record/verdict.json": "metrics/verdict.json",
}


@dataclass
class Kept:
    """What DVC keeps, each object of it read once however many nights share it."""

    objects: DvcObjects
    read: dict[str, list[Copy]] = field(default_factory=dict)

    def fault(self, md5: str, sha256: str | None = None) -> str | None:
        """What is wrong with an object, in a phrase; None when there is a copy and each is what its digests say."""
        if md5 not in self.read:
            self.read[md5] = self.objects.copies(md5)
        if not self.read[md5]:
            return f"DVC object {md5} is neither in the cache nor in a remote"
        for copy in self.read[md5]:
            if copy.md5 != md5.removesuffix(FOLDER):
                return f"DVC object {md5} in the {copy.place} has the MD5 {copy.md5}"
            if sha256 not in (None, copy.sha256):
                return f"DVC object {md5} in the {copy.place} is not the file that the snapshot's manifest names"
        return None


def verify_run(books: Books, record: RunRecord, kept: Kept, *, root: Path) -> Iterator[Finding]:
    """The commit of a run against its release's record, its checkout against the commit, its data against both."""
    if record.release is None or is_retired(books.store, record.release):
        return
    try:
        manifest = books.releases.manifest(record.release)
        lock = yaml.safe_load(show(record.commit, "dvc.lock", at=root))
    except NightreelError as error:
        yield Finding(kind="run commit", what=record.commit, fault=str(error))
        return
    for part, path in COMMITTED.items():
        if sha256(show(record.commit, path, at=root)) != manifest.parts[part].sha256:
            yield Finding(kind="run commit", what=f"{record.commit[:12]}:{path}", fault=f"differs from {part}")
    yield from _checkout(books, record)
    yield from _outs(lock, kept, record, _digests(books, manifest), root=root)


def verify_landed(folder: Path, kept: Iterable[RunRecord], *, replaced: Collection[str]) -> Iterator[Finding]:
    """Every landed file against the digest in its name; those that records name must be there, unless `replaced`."""
    named = {landed.file for record in kept for landed in record.landed}
    there = {path.name: path for path in (folder / "files").glob("*.parquet")}
    for name in sorted(named - there.keys() - set(replaced)):
        yield Finding(kind="landed file", what=name, fault="it is missing")
    for name, path in track(sorted(there.items()), label="Landed files", total=len(there)):
        if sha256_of_file(path) != path.stem:
            yield Finding(kind="landed file", what=name, fault=f"its SHA-256 is {sha256_of_file(path)}")


def verify_alias(books: Books, registry: Registry) -> Iterator[Finding]:
    """MLflow's `champion` against the ledger's newest entry."""
    try:
        head = books.ledger.head()
        version = registry.alias("champion")
    except NightreelError as error:
        yield Finding(kind="alias", what="champion", fault=str(error))
        return
    if head is None or head.model_version is None:
        return
    if version != head.model_version:
        fault = f"MLflow has it on version {version}, and ledger entry {head.seq} made {head.model_version} live"
        yield Finding(kind="alias", what="champion", fault=fault)
        return
    release = registry.tags_of(version).get("nightreel.release")
    if release != head.release and release != _trained(head.release, books):
        fault = f"version {version} is tagged with release {release}, and entry {head.seq} names {head.release}"
        yield Finding(kind="alias", what="champion", fault=fault)


def _trained(release: str, books: Books) -> str | None:
    """The release that gave the model of a refreshed one; None where that cannot be read, which is told elsewhere."""
    try:
        return trained_release(release, books)
    except NightreelError:
        return None


def _checkout(books: Books, record: RunRecord) -> Iterator[Finding]:
    """What git tracks in the run's own checkout, where that is still there."""
    checkout = books.settings.home_dir / "runs" / record.run / "checkout"
    if not (checkout / ".git").exists():
        return
    changed = git("status", "--porcelain", "--untracked-files=no", at=checkout).splitlines()
    for line in changed:
        yield Finding(kind="run checkout", what=f"{record.run}: {line[2:].strip()}", fault="differs from its commit")


def _outs(
    lock: Mapping[str, Any], kept: Kept, record: RunRecord, digests: Mapping[str, str], *, root: Path
) -> Iterator[Finding]:
    outs = [(stage, out) for stage, facts in lock["stages"].items() for out in facts.get("outs", [])]
    for stage, out in track(outs, label=f"Run {record.run}", total=len(outs)):
        if out["path"].startswith("metrics/"):  # in the commit itself, not with DVC
            found = hashlib.md5(show(record.commit, out["path"], at=root), usedforsecurity=False).hexdigest()
            if found != out["md5"]:
                yield _object(record, stage, out["path"], f"has the MD5 {found} in the commit")
            continue
        if fault := kept.fault(out["md5"]):
            yield _object(record, stage, out["path"], fault)
        elif out["md5"].endswith(FOLDER):
            for path, md5 in kept.objects.folder(out["md5"], called=out["path"]).items():
                if fault := kept.fault(md5, digests.get(f"{out['path']}/{path}")):
                    yield _object(record, stage, f"{out['path']}/{path}", fault)


def _digests(books: Books, manifest: Manifest) -> dict[str, str]:
    return {path: file["sha256"] for path, file in stored_json(books, manifest, SNAPSHOT_PART)["files"].items()}


def _object(record: RunRecord, stage: str, path: str, fault: str) -> Finding:
    return Finding(kind="DVC object", what=f"{path} of run {record.run} (stage {stage})", fault=fault)
