"""What DVC keeps, read without DVC and changed nowhere: the shared cache first, then the remote.

Both keep a file under its MD5 as `files/md5/ab/cdef..`; a folder is a JSON list of its files' paths and MD5s, whose own
MD5 ends in `.dir`. DVC itself would delete an object that it finds damaged, and with it what an auditor wants to see.
"""

import configparser
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.errors import Refused
from infra.settings import Settings
from infra.stores import FolderStore, Missing, ObjectStore, checked_key, open_store

FOLDER = ".dir"
OBJECTS = "files/md5/"
CACHE, REMOTE = "cache", "remote"


def object_key(md5: str) -> str:
    """Where the cache and a remote have the object that DVC names `md5`."""
    return f"{OBJECTS}{md5[:2]}/{md5[2:]}"


def downloads(places: Iterable[tuple[str, ObjectStore]], md5: str, path: Path) -> Iterator[str]:
    """Copy an object to `path` from one place after another; the name of each that had it, once its copy is there."""
    for place, store in places:
        try:
            store.download(object_key(md5), path)
        except Missing:
            continue
        yield place


def folder_lists(places: Iterable[tuple[str, ObjectStore]], md5: str) -> Iterator[dict[str, str] | None]:
    """MD5 by path of the files of the folder `md5`, by each place's list of them; None for a list unlike its name."""
    for _, store in places:
        try:
            listed = store.get(object_key(md5))
        except Missing:
            continue
        fits = f"{hashlib.md5(listed, usedforsecurity=False).hexdigest()}{FOLDER}" == md5
        yield {file["relpath"]: file["md5"] for file in json.loads(listed)} if fits else None


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
        for listed in folder_lists(self._places(), md5):
            if listed is not None:
                return {checked_key(path): file for path, file in listed.items()}
            found = True
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
        for _ in downloads(self._places(), md5, path):
            return _md5_of_file(path) == md5
        raise self._missing(called, md5)

    def fetch_whole(self, md5: str, path: Path) -> bool:
        """Copy the object to `path` from the first place whose bytes fit its name; False when there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = any(_md5_of_file(path) == md5 for _ in downloads(self._places(), md5, path))
        if not whole:
            path.unlink(missing_ok=True)
        return whole

    def copies(self, md5: str) -> list[Copy]:
        """Every copy of an object, read to its end; none where neither place has it."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            return [
                Copy(place, _md5_of_file(path), _sha256_of_file(path)) for place in downloads(self._places(), md5, path)
            ]

    def _places(self) -> Iterator[tuple[str, ObjectStore]]:
        yield CACHE, FolderStore(self.settings.home_dir / "cache")
        if self.settings.remote:
            yield REMOTE, self._remote

    @cached_property
    def _remote(self) -> ObjectStore:
        return open_store(str(self.settings.remote), self.settings)

    def _missing(self, called: str, md5: str) -> Refused:
        remote = f"nor in the remote {self.settings.remote}" if self.settings.remote else "and no DVC remote is set"
        return Refused(
            f"{called} is neither in the DVC cache {self.settings.home_dir / 'cache'} {remote} "
            f"(DVC object {md5}), so it cannot be compared."
        )


def _sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
