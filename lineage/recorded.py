"""What a release and its run have on record, and the files that the record speaks of, brought from DVC and checked."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from infra.dvc_objects import DvcObjects, with_committed_remote
from infra.errors import BadInput, Refused
from infra.git import show
from lineage.books import Books
from lineage.canonical import sha256_of_file
from lineage.differences import FileDifference, file_difference
from lineage.manifest import SNAPSHOT_PART, Manifest
from lineage.prefix import release_by_prefix
from lineage.runs import records

CANDIDATES = "data/candidates"
PREPARED = "data/prepared"
SNAPSHOT = ("data/accepted", "data/quarantine")

REFRESH = "record/refresh.json"

log = logging.getLogger(__name__)


def made_by(prefix: str, books: Books) -> tuple[str, str]:
    """The release whose id starts with `prefix`, live once or not, and the commit of the run that made it.

    Raises:
        BadInput: no release's id starts so, or several do.
    """
    commits = {record.release: record.commit for record in records(books.store, books.name) if record.release}
    commits |= {entry.release: entry.commit for entry in books.ledger.entries() if entry.commit}
    found = release_by_prefix(prefix, commits, where=f"of {books.name}")
    return found, commits[found]


def trained_release(release: str, books: Books) -> str:
    """The release whose night trained the model that `release` serves: itself, unless it is a refreshed one."""
    if REFRESH not in books.releases.manifest(release).parts:
        return release
    told: dict[str, Any] = json.loads((books.releases.open(release) / REFRESH).read_bytes())
    return str(told["model_release"])


@dataclass(frozen=True)
class Recorded:
    """One release on record.

    Attributes:
        folder: the release's files, every digest checked.
        commit: the run's commit in `repository`.
        objects: where DVC keeps the run's data.
    """

    manifest: Manifest
    folder: Path
    commit: str
    repository: Path
    objects: DvcObjects

    @classmethod
    def open(cls, release: str, commit: str, books: Books, repository: Path) -> "Recorded":
        """The record of `release`, which the run of `commit` made.

        Raises:
            Refused: the release is damaged or retired, or records no snapshot.
        """
        manifest, folder = books.releases.manifest(release), books.releases.open(release)
        if SNAPSHOT_PART not in manifest.parts:
            raise Refused(f"Release {release[:12]} records no snapshot, so nothing says what it was trained on.")
        config = show(commit, ".dvc/config", at=repository).decode()
        return cls(manifest, folder, commit, repository, DvcObjects(with_committed_remote(books.settings, config)))

    @property
    def index(self) -> dict[str, Any]:
        """The challenger, and every candidate's primary metric, None where it has none."""
        return self.read("record/index.json")

    @property
    def params(self) -> dict[str, Any]:
        """All parameters, with their defaults."""
        params: dict[str, Any] = yaml.safe_load((self.folder / "record/params.yaml").read_text(encoding="utf-8"))
        return params

    @cached_property
    def snapshot(self) -> dict[str, str]:
        """SHA-256 of each file of the validated and prepared data."""
        return {path: file["sha256"] for path, file in self.read(SNAPSHOT_PART)["files"].items()}

    @property
    def candidates(self) -> list[str]:
        """Those that were trained well."""
        return [out.removeprefix(f"{CANDIDATES}/") for out in self._outs if out.startswith(f"{CANDIDATES}/")]

    def trained(self, candidate: str) -> Mapping[str, Any]:
        """What the run noted when it trained `candidate`; nothing where it did not end well."""
        try:
            noted = show(self.commit, f"metrics/train/{candidate}.json", at=self.repository)
        except BadInput:
            return {}
        facts: dict[str, Any] = json.loads(noted)
        return facts

    def read(self, part: str) -> dict[str, Any]:
        """A JSON part of the release."""
        content: dict[str, Any] = json.loads((self.folder / part).read_bytes())
        return content

    def model(self, candidate: str, into: Path) -> tuple[Path, list[FileDifference]]:
        """The recorded weights and config of `candidate`: the release's own for the challenger, else from DVC.

        Returns:
            Their folder, and what is not as `dvc.lock` names it.

        Raises:
            Refused: a file is nowhere to be found.
        """
        if candidate == self.manifest.candidate:
            return self.folder / "model", []
        out, damaged = f"{CANDIDATES}/{candidate}", []
        for path, md5 in self._listed(out).items():
            file = f"{out}/{path}"
            if not self.objects.fetch(md5, into / file, called=file):
                damaged.append(FileDifference(file=file, how="differs: its MD5 is not that of dvc.lock"))
        return into / out, damaged

    def data(self, out: str, into: Path, aside: Path) -> list[FileDifference]:
        """Bring the files of `out` below the folder `into` as they are stored; what is not as recorded.

        Args:
            out: a folder that `dvc.lock` names.
            into: gets the files, damaged ones as well.
            aside: folder for whole copies, to tell what of a damaged file changed.

        Raises:
            Refused: a file is nowhere to be found.
        """
        listed = {f"{out}/{path}": md5 for path, md5 in self._listed(out).items()}
        wanted = {path for path in self.snapshot if path.startswith(f"{out}/")}
        found = [FileDifference(file=file, how="is missing in DVC's folder") for file in sorted(wanted - listed.keys())]
        for file, md5 in sorted(listed.items()):
            self.objects.fetch(md5, into / file, called=file)
            if difference := self._checked(file, md5, into / file, aside / file):
                found.append(difference)
        log.info("%s: %d files, %d not as recorded", out, len(listed), len(found))
        return found

    def whole(self, file: str, path: Path) -> Path | None:
        """A copy of a file of the snapshot whose digest is the recorded one; None when there is none left."""
        digest = self.snapshot[file]
        part = next((name for name, part in self.manifest.parts.items() if part.sha256 == digest), None)
        if part:
            return self.folder / part
        out = next(out for out in self._outs if file.startswith(f"{out}/"))
        md5 = self._listed(out)[file.removeprefix(f"{out}/")]
        return path if self.objects.fetch_whole(md5, path) and sha256_of_file(path) == digest else None

    def _checked(self, file: str, md5: str, stored: Path, aside: Path) -> FileDifference | None:
        if file not in self.snapshot:
            return FileDifference(file=file, how="is not in the release's snapshot")
        if sha256_of_file(stored) == self.snapshot[file]:
            return None
        if original := self.whole(file, aside):
            return file_difference(file, recorded=original, now=stored)
        return FileDifference(
            file=file, how=f"differs: its SHA-256 is not {self.snapshot[file][:12]}..., and no copy of it is left"
        )

    def _listed(self, out: str) -> dict[str, str]:
        if out not in self._outs:
            raise Refused(f"dvc.lock of release {self.manifest.release[:12]} names no {out}.")
        return self.objects.folder(self._outs[out], called=out)

    @cached_property
    def _outs(self) -> dict[str, str]:
        """MD5 of each output by its path, as the release's own `dvc.lock` has it."""
        lock = yaml.safe_load((self.folder / "record/dvc.lock").read_text(encoding="utf-8"))
        return {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", ())}
