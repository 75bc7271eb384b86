"""Prove the books: every digest, every signature, the whole chain, recomputed from the bytes. Nothing is believed."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.console import track
from infra.errors import NightreelError, Refused
from infra.stores import Missing
from lineage.attestation import check_attestation
from lineage.books import Books
from lineage.canonical import sha256, sha256_of_file
from lineage.ledger import BrokenChain, Entry
from lineage.manifest import SNAPSHOT_PART, Manifest
from lineage.releases import blob_key, manifest_key
from lineage.retirement import is_retired
from lineage.runs import RunRecord
from lineage.snapshots import SNAPSHOTS, USERS_FILE, VIDEOS_FILE
from lineage.windows import get_evidence


class Finding(BaseModel):
    """One thing that does not hold: what kind of thing, which one, and how."""

    model_config = ConfigDict(frozen=True)

    kind: str
    what: str
    fault: str


def verify_chain(books: Books, entries: Iterable[tuple[int, Entry | BrokenChain]]) -> Iterator[Finding]:
    """Each entry of the ledger against the one before it, its signature, its evidence, and against what was seen.

    Args:
        entries: what the ledger's `examined` found.
    """
    ledger = books.ledger
    try:
        ledger.head()
    except NightreelError as error:
        yield Finding(kind="ledger", what="head", fault=str(error))
    for seq, entry in entries:
        what = f"ledgers/{books.name}/{seq:08d}.json"
        if not isinstance(entry, Entry):
            yield Finding(kind="ledger entry", what=what, fault=str(entry))
            continue
        try:
            ledger.check_signature(entry, books.trust)
            if entry.evidence:
                get_evidence(books.store, entry.evidence)
        except NightreelError as error:
            yield Finding(kind="ledger entry", what=what, fault=str(error))


def verify_records(books: Books, records: Iterable[tuple[str, RunRecord | Refused]]) -> Iterator[Finding]:
    """Each run record can be read and names a release of the store with the same snapshot.

    Args:
        records: what `lineage.runs.examined` found.
    """
    for key, record in records:
        if isinstance(record, RunRecord):
            yield from _record(books, record)
        else:
            yield Finding(kind="run record", what=key, fault=str(record))


def verify_release(books: Books, release: str) -> Iterator[Finding]:
    """Manifest, parts and attestation of one release; of a retired one nothing is left to prove."""
    if is_retired(books.store, release):
        return
    try:
        manifest = books.releases.manifest(release)
    except NightreelError as error:
        yield Finding(kind="manifest", what=manifest_key(release), fault=str(error))
        return
    yield from _parts(books, manifest)
    try:
        check_attestation(books.store, books.trust, manifest)
    except NightreelError as error:
        yield Finding(kind="attestation", what=f"attestations/{release}.json", fault=str(error))


def stored_json(books: Books, manifest: Manifest, part: str) -> dict[str, Any]:
    """A JSON part of a release, from the store. Raises `Refused` when it is missing or damaged."""
    digest = manifest.parts[part]
    try:
        data = books.store.get(blob_key(digest))
    except Missing:
        raise Refused(f"{part} of release {manifest.release[:12]} is missing in the store.") from None
    if sha256(data) != digest.sha256:
        raise Refused(f"{part} of release {manifest.release[:12]} was changed in the store: its digest differs.")
    content: dict[str, Any] = json.loads(data)
    return content


def _record(books: Books, record: RunRecord) -> Iterator[Finding]:
    if record.release is None or is_retired(books.store, record.release):
        return
    try:
        snapshot = books.releases.manifest(record.release).parts[SNAPSHOT_PART].sha256
    except NightreelError as error:
        yield Finding(kind="run record", what=record.key, fault=str(error))
        return
    if snapshot != record.snapshot:
        yield Finding(kind="run record", what=record.key, fault="it names another snapshot than its release")


def _parts(books: Books, manifest: Manifest) -> Iterator[Finding]:
    parts = list(manifest.parts.items())
    with tempfile.TemporaryDirectory() as folder:
        for name, part in track(parts, label=f"Release {manifest.release[:12]}", total=len(parts)):
            copy = Path(folder) / "part"
            what = f"{name} of release {manifest.release[:12]} ({blob_key(part)})"
            try:
                books.store.download(blob_key(part), copy)
            except Missing:
                yield Finding(kind="release part", what=what, fault="it is missing")
                continue
            if sha256_of_file(copy) != part.sha256:
                yield Finding(kind="release part", what=what, fault=f"its SHA-256 is {sha256_of_file(copy)}")


def verify_index(books: Books, record: RunRecord) -> Iterator[Finding]:
    """The stored index of a snapshot against the digest that the snapshot's manifest has of it."""
    if record.release is None or is_retired(books.store, record.release):
        return
    files = stored_json(books, books.releases.manifest(record.release), SNAPSHOT_PART)["files"]
    for table in (USERS_FILE, VIDEOS_FILE):
        key = f"{SNAPSHOTS}{books.name}/{record.snapshot}/{table}"
        recorded = files.get(f"data/prepared/index/{table}", {}).get("sha256")
        try:
            found = sha256(books.store.get(key))
        except Missing:
            yield Finding(kind="snapshot index", what=key, fault="it is missing")
            continue
        if found != recorded:
            yield Finding(kind="snapshot index", what=key, fault=f"its SHA-256 is {found}, recorded: {recorded}")
