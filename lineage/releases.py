"""Releases in a store: each part under its digest, and the manifest last, so that half a release is no release."""

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infra.disk import disk_errors
from infra.errors import BadInput, Refused
from infra.locks import locked
from infra.stores import Missing, ObjectStore
from lineage.attestation import check_attestation
from lineage.canonical import Digest, sha256
from lineage.manifest import Manifest, Part, check, faults
from lineage.retirement import Retirement, is_retired, refuse_retired, retirement
from lineage.signing import Trust

log = logging.getLogger(__name__)

MANIFESTS = "manifests/"
INDEX = "index/index.json"
PARALLEL = 8
DIGEST = TypeAdapter(Digest)
SPACE = TypeAdapter(dict[str, Any])


class Releases:
    """The releases in `store`, with local copies under the folder `cache`."""

    def __init__(self, store: ObjectStore, cache: Path, *, trust: Trust | None = None) -> None:
        """Nothing is read yet. Where `trust` requires it, no release is opened without a trusted attestation."""
        self._store = store
        self._cache = cache
        self._trust = trust

    def publish(self, folder: Path, manifest: Manifest) -> str:
        """Store the files of `folder` and then `manifest`; what is there already is not sent again.

        Returns:
            The release's name.

        Raises:
            Refused: a file is not as in `manifest`, or the index is of another embedding space.
        """
        check(folder, manifest)
        _check_space(folder, manifest)
        _each_part(manifest, lambda path, part: self._store.upload_if_absent(blob_key(part), folder / path))
        self._store.put_if_absent(manifest_key(manifest.release), manifest.encoded())
        return manifest.release

    def manifest(self, release: str) -> Manifest:
        """The manifest of `release`.

        Raises:
            BadInput: the store has no such release.
            Refused: what is stored has another digest.
        """
        try:
            data = self._store.get(manifest_key(release))
        except Missing:
            raise BadInput(f"The store has no such release. Received: {release}") from None
        if sha256(data) != release:
            raise Refused(f"The manifest of release {release[:12]} was changed in the store: its digest differs.")
        return Manifest.decode(data, where=f"The manifest of release {release[:12]}")

    def manifests(self) -> list[Manifest]:
        """Every manifest of the store, of all recommenders and of retired releases as well. Raises as `manifest`."""
        names = [key.removeprefix(MANIFESTS).removesuffix(".json") for key in self._store.keys(MANIFESTS)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(self.manifest, names))

    def is_retired(self, release: str) -> bool:
        """Whether `release` may never be loaded again."""
        return is_retired(self._store, release)

    def retirement(self, release: str) -> Retirement | None:
        """How `release` was retired, None when it was not."""
        return retirement(self._store, release)

    def open(self, release: str) -> Path:
        """A local folder with the files of `release`, every digest checked now. Treat it as read-only.

        Raises:
            BadInput: the store has no such release.
            Refused: a stored part is missing or damaged, model and index are of different embedding spaces, or the
                release was retired.
            Untrusted: its attestation is required, and missing, wrong or foreign.
        """
        manifest = self.manifest(release)
        refuse_retired(self._store, release)
        if self._trust and self._trust.required:
            check_attestation(self._store, self._trust, manifest)
        folder = self._cache / release
        with disk_errors(self._cache), locked(self._cache / "lock"):
            if not self._holds(folder, manifest):
                self._fetch(folder, manifest)
        _check_space(folder, manifest)
        return folder

    def _holds(self, folder: Path, manifest: Manifest) -> bool:
        if not folder.exists():
            return False
        found = faults(folder, manifest)
        if found:
            log.warning("%s was changed and is fetched again: %s", folder, "; ".join(found))
        return not found

    def _fetch(self, folder: Path, manifest: Manifest) -> None:
        """Download beside `folder`, check, then rename. Under the lock, so that what a killed one left is nobody's."""
        partial, aside = self._cache / "partial", self._cache / "damaged"
        for leftover in (partial, aside):
            shutil.rmtree(leftover, ignore_errors=True)
        for path in manifest.parts:
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            _each_part(manifest, lambda path, part: self._store.download(blob_key(part), partial / path))
        except Missing as missing:
            raise Refused(f"Release {manifest.release[:12]} is damaged in the store: {missing}") from None
        if found := faults(partial, manifest):
            raise Refused(f"Release {manifest.release[:12]} is damaged in the store: {'; '.join(found)}.")
        if folder.exists():
            folder.rename(aside)
        partial.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)


def manifest_key(release: str) -> str:
    """Where the manifest of `release` is stored. Raises `BadInput` when that is no release's name."""
    try:
        return f"{MANIFESTS}{DIGEST.validate_python(release)}.json"
    except ValidationError:
        raise BadInput(f"A release is named by 64 hexadecimal digits. Received: {release!r}") from None


def blob_key(part: Part) -> str:
    """Where the bytes of a part are stored, for all releases that hold it."""
    return f"blobs/sha256/{part.sha256[:2]}/{part.sha256}"


def _each_part(manifest: Manifest, act: Callable[[str, Part], None]) -> None:
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda item: act(*item), manifest.parts.items()))


def _check_space(folder: Path, manifest: Manifest) -> None:
    """Model and index must be of one embedding space (the model's is the manifest's)."""
    if INDEX not in manifest.parts:
        return
    try:
        space = SPACE.validate_json((folder / INDEX).read_bytes())["space"]
    except (ValidationError, KeyError):
        raise Refused(f"{INDEX} of release {manifest.release[:12]} names no embedding space.") from None
    if space != manifest.space:
        raise Refused(
            f"Model and index of release {manifest.release[:12]} are of different embedding spaces. "
            f"Received: model {manifest.space}, index {space}"
        )
