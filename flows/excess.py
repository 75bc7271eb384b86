"""What nothing that is kept needs, wherever Nightreel has put it: what `nightreel gc` would remove."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, get_args

from flows.holdings import OF_VIEWERS, RECORD
from flows.known_runs import KnownRun, known_runs
from infra.checkout import LEFT_OF_A_RUN, is_at_work, is_empty
from infra.dvc_objects import CACHE, FOLDER, OBJECTS, object_key
from infra.dvc_removal import DvcPlaces
from infra.errors import Refused
from infra.git import git, run_ref
from infra.registry import KEY, Registry
from lineage.books import Books
from lineage.holds import Holds
from lineage.manifest import Manifest
from lineage.recorded import REFRESH
from lineage.releases import MANIFESTS, blob_key, manifest_key
from lineage.retention import YOUNG, kept
from lineage.retirement import retired
from lineage.verify import stored_json
from lineage.verify_erasures import verify_retirement
from tasks.params import LearnerName
from tasks.register_encoder import ARTIFACT, registered_name

BLOBS = "blobs/"
GONE = "nightreel.gone"  # tag of a model version whose files were removed
EMPTY_LIST = hashlib.md5(b"[]", usedforsecurity=False).hexdigest() + FOLDER
PARALLEL = 8


class Logged(NamedTuple):
    """A model version, where its night keeps files in MLflow, and their bytes."""

    registry: Registry
    version: str
    uris: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Excess:
    """What can go, and why the rest is kept.

    Attributes:
        kept: why, by release that is kept; `at_work`: runs that a process of this machine holds now.
        releases: those to be retired.
        blobs: bytes by key in the release store.
        objects: bytes by MD5 of DVC's objects, by place; `forget`: all that these runs made, by MD5.
        folders, copies: bytes of runs' folders and of local copies of releases.
        logged: model versions whose files go.
    """

    kept: Mapping[str, str]
    at_work: tuple[str, ...]
    releases: tuple[str, ...]
    blobs: Mapping[str, int]
    objects: Mapping[str, Mapping[str, int]]
    forget: Collection[str]
    folders: Mapping[Path, int]
    copies: Mapping[Path, int]
    logged: Sequence[Logged]

    def rows(self) -> Iterator[dict[str, str | int]]:
        """What can go by place: how many of what, and their bytes."""
        yield _row("release store", "release parts", self.blobs)
        for place, objects in self.objects.items():
            yield _row("DVC cache" if place == CACHE else f"DVC remote {place}", "objects", objects)
        artifacts = {uri: 0 for one in self.logged for uri in one.uris}
        yield _row("MLflow", "artifact folders", artifacts) | {"bytes": sum(one.bytes for one in self.logged)}
        yield _row("this machine", "worktrees of runs", self.folders)
        yield _row("this machine", "copies of releases", self.copies)


def _row(place: str, what: str, found: Mapping[str, int] | Mapping[Path, int]) -> dict[str, str | int]:
    return {"place": place, "what": what, "count": len(found), "bytes": sum(found.values())}


def find_excess(books: Books, registry: Registry, *, root: Path, keep: int, now: datetime) -> tuple[Excess, DvcPlaces]:
    """What is there of the recommender of `books` that neither its kept releases nor anybody else's need.

    Args:
        registry: of the same recommender.
        root: the checkout with the runs' refs.
        keep: how many releases that were live are kept beside the live one.
        now: the present, UTC.

    Raises:
        Refused: the ledger or a hold does not hold, or what a kept release needs cannot be told.
    """
    manifests = {one.release: one for one in books.releases.manifests()}
    ended = _ended(books)
    why = _kept(books, {one: manifests[one] for one in manifests.keys() - ended}, keep=keep, now=now)
    leaving = {one for one, its in manifests.items() if its.name == books.name} - ended - why.keys()
    staying = manifests.keys() - ended - leaving
    runs = known_runs(books, root)
    at_work = [run.run for run in runs if run.folder and is_at_work(run.folder)]
    needed = {run.run for run in runs if run.run in at_work or _is_needed(run, staying, root=root, now=now)}
    spent = [run for run in runs if run.name == books.name and run.run not in needed]
    places = DvcPlaces.of(books.settings, (config for run in runs for config in run.configs))
    made, objects = _objects(runs, needed, spent, places)
    _refuse_unreadable((run for run in runs if run.run in needed and _released(run) & staying), places)
    excess = Excess(
        kept=why,
        at_work=tuple(at_work),
        releases=tuple(sorted(leaving)),
        blobs=_blobs(books, manifests, staying, now=now),
        objects=objects,
        forget=made,
        folders={run.folder: _bytes_of(run.folder) for run in spent if run.folder and not is_empty(run.folder)},
        copies={copy: _bytes_of(copy) for copy in _copies(books.settings.home_dir, manifests.keys() - staying)},
        logged=list(_logged(books, registry, {run.run for run in spent})),
    )
    return excess, places


def _ended(books: Books) -> set[str]:
    """Releases that were retired by somebody trusted; whoever else says so must not have their files removed."""
    claimed = sorted(retired(books.store))
    with ThreadPoolExecutor(PARALLEL) as pool:
        faults = pool.map(lambda release: list(verify_retirement(books, release)), claimed)
        return {release for release, found in zip(claimed, faults, strict=True) if not found}


def _kept(books: Books, manifests: Mapping[str, Manifest], *, keep: int, now: datetime) -> dict[str, str]:
    books.ledger.proven_head()
    lives = [entry.release for entry in books.ledger.entries()]
    own = {release: one for release, one in manifests.items() if one.name == books.name}
    listed = books.store.listed(MANIFESTS)
    return kept(
        lives,
        {release: listed[manifest_key(release)].at for release in own},
        keep=keep,
        held=Holds(books.store, books.name, books.trust).standing().keys(),
        trained={
            release: str(stored_json(books, one, REFRESH)["model_release"])
            for release, one in own.items()
            if REFRESH in one.parts
        },
        now=now,
    )


def _released(run: KnownRun) -> set[str]:
    return {record.release for record in run.records if record.release}


def _is_needed(run: KnownRun, staying: Collection[str], *, root: Path, now: datetime) -> bool:
    """Whether it made a release that stays, or none and is young: it may be run again, or its data looked at."""
    if made := _released(run):
        return not made.isdisjoint(staying)
    return now - _last_seen(run, root) < YOUNG


def _last_seen(run: KnownRun, root: Path) -> datetime:
    times = [datetime.fromisoformat(record.at) for record in run.records]
    if run.folder:
        touched = max(path.stat().st_mtime for path in (run.folder, *run.folder.glob("log/*")))
        times.append(datetime.fromtimestamp(touched, UTC))
    return max(times) if times else datetime.fromisoformat(git("log", "-1", "--format=%cI", run_ref(run.run), at=root))


def _objects(
    runs: Sequence[KnownRun], needed: set[str], spent: Sequence[KnownRun], places: DvcPlaces
) -> tuple[set[str], dict[str, dict[str, int]]]:
    """All that only the runs `spent` made or that no run names, and what of it each place has."""
    every = {run.run: places.expanded(run.outs).keys() for run in runs}
    kept = {md5 for run in needed for md5 in every[run]}
    made = {md5 for run in spent for md5 in every[run.run]} - kept
    present = places.present(made)
    loose = places.unclaimed(md5 for md5s in every.values() for md5 in md5s)
    cached = places.stores[CACHE].listed(OBJECTS)
    present[CACHE] |= {md5: cached[key].bytes for md5 in loose if (key := object_key(md5)) in cached}
    return made | loose.keys(), present


def _refuse_unreadable(runs: Iterator[KnownRun], places: DvcPlaces) -> None:
    """What a folder of unknown content needs cannot be told from what can go. Runs of other machines are theirs."""
    for run in runs:
        for md5, path in run.outs.items():
            lost = md5.endswith(FOLDER) and not places.lists[md5] and md5 != EMPTY_LIST
            if lost and (run.configs or run.folder):
                raise Refused(
                    f"The list of the files of {path} of run {run.run}, which is kept, is nowhere to be found, so what "
                    "it needs cannot be told. Nothing has been removed; `nightreel audit verify` says more."
                )


def _blobs(
    books: Books, manifests: Mapping[str, Manifest], staying: Collection[str], *, now: datetime
) -> dict[str, int]:
    """Parts of no release that stays. What no manifest names may belong to a release that is being published."""
    named, needed = set(), set()
    for release, one in manifests.items():
        for path, part in one.parts.items():
            named.add(blob_key(part))
            if release in staying or path.startswith(RECORD):
                needed.add(blob_key(part))
    there = books.store.listed(BLOBS).items()
    old = {key: stored.bytes for key, stored in there if key in named or now - stored.at >= YOUNG}
    return {key: size for key, size in old.items() if key not in needed}


def _copies(home: Path, ended: Collection[str]) -> list[Path]:
    return [copy for release in sorted(ended) if (copy := home / "releases" / release).exists()]


def _logged(books: Books, registry: Registry, spent: Collection[str]) -> Iterator[Logged]:
    """Versions of the recommender and of its learners that these runs made and that are not marked as gone yet."""
    learners = [Registry(books.settings, registered_name(name, books.name)) for name in get_args(LearnerName)]
    for its, below in ((registry, OF_VIEWERS), *((learner, (ARTIFACT,)) for learner in learners)):
        for version, tags in its.versions().items():
            key = tags.get(KEY, "")
            if key.partition("/")[0] in spent and GONE not in tags:
                uris = its.artifacts(key, below=below)
                yield Logged(its, version, tuple(uris), sum(map(its.artifact_bytes, uris)))


def _bytes_of(folder: Path) -> int:
    """Bytes below a folder, but for what is left of a run's and what DVC has linked into it from its cache."""
    files = (path.lstat() for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in LEFT_OF_A_RUN)
    return sum(file.st_size for file in files if S_ISREG(file.st_mode) and file.st_nlink == 1)
