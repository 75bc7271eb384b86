"""Where a catalogue's video files lie, and what names their content."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from infra.disk import disk_errors, make_folder
from infra.s3 import SCHEME
from infra.settings import Settings
from tasks.fetch import Found, bring, list_location, source_file
from tasks.media.location import resolve_media
from tasks.stage import write_json

CATALOGUE = re.compile(r"/videos(?:/.+|\.(?:parquet|csv))$")


class MediaSource(Protocol):
    """A source's video files, by the relative path that the catalogue gives."""

    def digests(self, wanted: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """SHA-256 in hex of the content of each file, and why others of `wanted` have none."""

    @contextmanager
    def opened(self, media: str) -> Iterator[Path]:
        """The file on this machine until the block ends. Raises `ValueError` when it cannot be had."""


def media_source(landed: Mapping[str, Any], settings: Settings) -> MediaSource | None:
    """The files beside the catalogue that has landed; None where none has, or the source has no such layout.

    Args:
        landed: what `data/landed.json` holds.
        settings: S3's endpoint and credentials, and the home of copies from S3 and of digests that are known.
    """
    origins = [of["uri"] for part in landed["parts"] if part["table"] == "videos" for of in part["origins"]]
    root = CATALOGUE.sub("", origins[0]) if origins and CATALOGUE.search(origins[0]) else None
    if landed["source"] != "files" or root is None:
        return None
    work = settings.home_dir / "media"
    return BucketMedia(root, settings, work) if root.startswith(SCHEME) else FolderMedia(Path(root), work)


class FolderMedia:
    """Files in a folder. The digest of a file that has kept size and time is not computed again."""

    def __init__(self, root: Path, work: Path) -> None:
        self._root = root
        self._kept = work / "digests.json"
        self._known: dict[str, str] = json.loads(self._kept.read_bytes()) if self._kept.exists() else {}

    def digests(self, wanted: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """See `MediaSource.digests`."""
        before = len(self._known)
        told = _digests(wanted, self._digest)
        if len(self._known) > before:
            with disk_errors(self._kept.parent):
                write_json(self._kept, self._known)
        return told

    def _digest(self, media: str) -> str:
        path = resolve_media(self._root, media)
        state = path.stat()
        mark = f"{path}\n{state.st_size}\n{state.st_mtime_ns}"
        if mark not in self._known:
            with path.open("rb") as file:
                self._known[mark] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._known[mark]

    @contextmanager
    def opened(self, media: str) -> Iterator[Path]:
        """See `MediaSource.opened`."""
        yield resolve_media(self._root, media)


class BucketMedia:
    """Files below an S3 prefix. Their content is named by the mark that S3 gives each version, and their size."""

    def __init__(self, url: str, settings: Settings, work: Path) -> None:
        self._settings = settings
        self._work = work / "copies"
        self._files: dict[str, Found] = {file.name: file for file in list_location(url, settings=settings)}

    def digests(self, wanted: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """See `MediaSource.digests`."""
        return _digests(wanted, self._digest)

    def _digest(self, media: str) -> str:
        found = self._found(media)
        return hashlib.sha256(f"{found.etag}\n{found.bytes}".encode()).hexdigest()

    @contextmanager
    def opened(self, media: str) -> Iterator[Path]:
        """See `MediaSource.opened`."""
        make_folder(self._work)
        copies, left_out = bring([source_file(self._found(media), "media")], into=self._work, settings=self._settings)
        if left_out:
            raise ValueError(f"media {media!r} cannot be copied: {left_out[0].reason}")
        try:
            yield copies[0].path
        finally:
            copies[0].path.unlink()

    def _found(self, media: str) -> Found:
        if media not in self._files:
            raise ValueError(f"media must be a file that exists in the source. Received: {media!r}")
        return self._files[media]


def _digests(wanted: Sequence[str], digest: Callable[[str], str]) -> tuple[dict[str, str], dict[str, str]]:
    digests: dict[str, str] = {}
    faults: dict[str, str] = {}
    for media in wanted:
        try:
            digests[media] = digest(media)
        except (ValueError, OSError) as error:
            faults[media] = str(error)
    return digests, faults
