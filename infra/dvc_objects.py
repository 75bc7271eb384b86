"""What DVC keeps, read without DVC and changed nowhere: the shared cache first, then the remote.

Both keep a file under its MD5 as `files/md5/ab/cdef..`; a folder is a JSON list of its files' paths and MD5s, whose own
MD5 ends in `.dir`. DVC itself would delete an object that it finds damaged, and with it what an auditor wants to see.
"""

import configparser
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.errors import Refused
from infra.settings import Settings
from infra.stores import FolderStore, Missing, ObjectStore, checked_key, open_store

FOLDER = ".dir"


def with_committed_remote(settings: Settings, config: str) -> Settings:
    """`settings`, with the remote that the DVC configuration `config` of a run's commit names, where none is set."""
    parser = configparser.ConfigParser()
    parser.read_string(config)
    remote = f"'remote \"{parser.get('core', 'remote', fallback='')}\"'"
    if settings.remote or remote not in parser:
        return settings
    endpoint = settings.s3_endpoint or parser.get(remote, "endpointurl", fallback=None)
    return settings.model_copy(update={"remote": parser[remote]["url"], "s3_endpoint": endpoint})


@dataclass(frozen=True)
class Copy:
    """A copy of an object: the place that has it, and the digests of what is there."""

    place: str
    md5: str
    sha256: str


@dataclass(frozen=True)
class DvcObjects:
    """The cache under the home folder of `settings`, and its remote."""

    settings: Settings

    def folder(self, md5: str, *, called: str) -> dict[str, str]:
        """MD5 by path of each file of the folder that DVC names `md5`; `called` is what an error names it.

        Raises:
            Refused: neither place has the list, or none that fits its name.
        """
        if not md5.endswith(FOLDER):
            raise Refused(f"{called} must be a folder in dvc.lock. Received: {md5}")
        found = False
        for store in self._places():
            try:
                listed = store.get(_key(md5))
            except Missing:
                continue
            found = True
            if f"{_md5(listed)}{FOLDER}" == md5:
                return {checked_key(file["relpath"]): file["md5"] for file in json.loads(listed)}
        if found:
            raise Refused(f"The list of the files of {called} (DVC object {md5}) was changed and fits no copy's name.")
        raise self._missing(called, md5)

    def fetch(self, md5: str, path: Path, *, called: str) -> bool:
        """Copy the object to `path` from the first place that has it, also where it is damaged there.

        Returns:
            Whether its bytes fit its name.

        Raises:
            Refused: neither place has it.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        for store in self._places():
            try:
                store.download(_key(md5), path)
            except Missing:
                continue
            return _md5_of_file(path) == md5
        raise self._missing(called, md5)

    def fetch_whole(self, md5: str, path: Path) -> bool:
        """Copy the object to `path` from the first place whose bytes fit its name; False when there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for store in self._places():
            try:
                store.download(_key(md5), path)
            except Missing:
                continue
            if _md5_of_file(path) == md5:
                return True
        path.unlink(missing_ok=True)
        return False

    def copies(self, md5: str) -> list[Copy]:
        """Every copy of an object, read to its end; none where neither place has it."""
        found = []
        with TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            for store, place in zip(self._places(), ("cache", "remote"), strict=False):
                try:
                    store.download(_key(md5), path)
                except Missing:
                    continue
                found.append(Copy(place, _md5_of_file(path), _sha256_of_file(path)))
        return found

    def _places(self) -> Iterator[ObjectStore]:
        yield FolderStore(self.settings.home_dir / "cache")
        if self.settings.remote:
            yield self._remote

    @cached_property
    def _remote(self) -> ObjectStore:
        return open_store(str(self.settings.remote), self.settings)

    def _missing(self, called: str, md5: str) -> Refused:
        remote = f"nor in the remote {self.settings.remote}" if self.settings.remote else "and no DVC remote is set"
        return Refused(
            f"{called} is neither in the DVC cache {self.settings.home_dir / 'cache'} {remote} "
            f"(DVC object {md5}), so it cannot be compared."
        )


def _key(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
