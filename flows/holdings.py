"""What still holds an erased viewer, wherever Nightreel has put it."""

import io
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flows.known_runs import KnownRun, known_runs
from infra.checkout import is_empty
from infra.dvc_objects import CACHE
from infra.dvc_removal import DvcPlaces
from infra.registry import Registry
from infra.stores import Missing
from lineage.books import Books
from lineage.manifest import Manifest
from lineage.releases import blob_key
from lineage.retirement import retired
from lineage.runs import RunRecord
from lineage.snapshots import SNAPSHOTS, holding, indexed
from tasks import paths
from tasks.erase_landed import holds, leftovers
from tasks.landing import landing_folder

RECORD = "record/"
VIEWERS = "viewers.parquet"
OF_VIEWERS = ("evaluation", "data-docs")  # folders of MLflow's runs; figures and verdicts stay
PARALLEL = 8


@dataclass(frozen=True)
class Holdings:
    """What is left of a viewer.

    Attributes:
        runs: nights whose snapshot held the viewer.
        releases: what was made of them; `retired`: those of them that were retired before; `live`: the live one.
        landed, folders, copies: landed files, folders of runs, local copies of releases, on this machine.
        objects: MD5s of DVC objects by place; `made_as`: the path of each.
        unclaimed: files in the DVC cache that no run names.
        blobs: parts of the releases by their key in the store; `indexes`: keys of snapshots' indexes there.
        artifacts: URIs in MLflow.
        shared: DVC objects of these nights that stay, by the other recommender whose nights need them.
    """

    runs: tuple[str, ...]
    releases: tuple[str, ...]
    retired: frozenset[str]
    live: str | None
    landed: tuple[Path, ...]
    folders: tuple[Path, ...]
    copies: tuple[Path, ...]
    objects: Mapping[str, Collection[str]]
    made_as: Mapping[str, str]
    unclaimed: Mapping[str, Path]
    blobs: Mapping[str, str]
    indexes: tuple[str, ...]
    artifacts: tuple[str, ...]
    shared: Mapping[str, int]

    def rows(self) -> Iterator[dict[str, str]]:
        """One row for each thing that has to go: what `kind` it is, which one, and where it lies."""
        left = (one for one in self.releases if one not in self.retired)
        yield from (_row("release", one, "live" if one == self.live else "not live") for one in left)
        for kind, files in (("landed file", self.landed), ("run folder", self.folders), ("local copy", self.copies)):
            yield from (_row(kind, file.name, str(file)) for file in files)
        for place, md5s in self.objects.items():
            yield from (_row("DVC object", self.made_as[md5], f"{place}: {md5}") for md5 in md5s)
        yield from (_row("DVC object", "of no run", f"{CACHE}: {md5}") for md5 in self.unclaimed)
        yield from (_row("release part", path, key) for key, path in self.blobs.items())
        for kind, names in (("snapshot index", self.indexes), ("MLflow artifact", self.artifacts)):
            yield from (_row(kind, name.rpartition("/")[2], name) for name in names)


def _row(kind: str, what: str, where: str) -> dict[str, str]:
    return {"kind": kind, "what": what, "where": where}


def find_holdings(books: Books, registry: Registry, user: str, *, root: Path) -> tuple[Holdings, DvcPlaces]:
    """All that holds the viewer `user` of the recommender of `books`, and where DVC's objects lie.

    Args:
        registry: of the same recommender.
        root: the checkout with the runs' refs.
    """
    runs = known_runs(books, root)
    places = DvcPlaces.of(books.settings, (config for run in runs for config in run.configs))
    held = _runs_with(user, runs, books, places)
    affected = [run for run in runs if run.run in held]
    records = [record for run in affected for record in run.records]
    manifests = books.releases.manifests()
    recorded = {record.release for run in runs for record in run.records if record.release}
    releases = {record.release for record in records if record.release} | _unrecorded(user, manifests, recorded, books)
    ended = retired(books.store)
    head = books.ledger.head()
    made_as, shared = _objects(runs, held, books.name, places)
    claimed = {md5 for run in runs for md5 in places.expanded(run.outs)}
    holdings = Holdings(
        runs=tuple(run.run for run in affected),
        releases=tuple(sorted(releases)),
        retired=frozenset(ended & releases),
        live=head.release if head and head.release in releases else None,
        landed=tuple(leftovers(landing_folder(books.settings, books.name))),
        folders=tuple(run.folder for run in affected if run.folder and not is_empty(run.folder)),
        copies=tuple(_copies(releases, books.settings.home_dir)),
        objects={place: md5s for place, md5s in places.present(made_as).items() if md5s},
        made_as=made_as,
        unclaimed={md5: file for md5, file in places.unclaimed(claimed).items() if holds(file, user)},
        blobs=_blobs(manifests, releases, ended, books),
        indexes=tuple(_indexes(records, books)),
        artifacts=tuple(uri for run in affected for uri in registry.artifacts(run.run, below=OF_VIEWERS)),
        shared=shared,
    )
    return holdings, places


def _copies(releases: Iterable[str], home: Path) -> Iterator[Path]:
    """Releases that were fetched, and what a reproduction that was killed has left."""
    for release in sorted(releases):
        copies = (home / "releases" / release, home / "reproduce" / release[:12])
        yield from (copy for copy in copies if copy.exists())


def _indexes(records: Iterable[RunRecord], books: Books) -> Iterator[str]:
    for snapshot in sorted({record.snapshot for record in records}):
        yield from books.store.keys(f"{SNAPSHOTS}{books.name}/{snapshot}/")


def _runs_with(user: str, runs: Sequence[KnownRun], books: Books, places: DvcPlaces) -> set[str]:
    """Runs of this recommender whose snapshot holds the viewer: by its index, or, where that is not there, by the data.

    Another machine may have erased the viewer from the store, indexes and all, and this one still has its copies.
    """
    own = [run for run in runs if run.name == books.name]
    there = indexed(books.store, books.name)
    holders = holding(books.store, books.name, there, user=user)
    unknown = [run for run in own if not {record.snapshot for record in run.records} & there]
    held = {run.run for run in own if {record.snapshot for record in run.records} & holders}
    return held | {run.run for run in unknown if _data_holds(run, user, places)}


def _data_holds(run: KnownRun, user: str, places: DvcPlaces) -> bool:
    if run.folder:
        return any(holds(file, user) for file in run.folder.rglob("*.parquet"))
    raw = {md5: path for md5, path in run.outs.items() if path == paths.RAW.as_posix()}
    with tempfile.TemporaryDirectory() as folder:
        files = [places.fetch(md5, Path(folder) / md5) for md5 in places.expanded(raw)]
        return any(holds(file, user) for file in files if file)


def _objects(
    runs: Sequence[KnownRun], held: set[str], name: str, places: DvcPlaces
) -> tuple[dict[str, str], dict[str, int]]:
    """Path by MD5 of what only the runs `held` need, and by other recommender how much of theirs it needs as well."""
    made = {md5: path for run in runs if run.run in held for md5, path in places.expanded(run.outs).items()}
    needed: dict[str, set[str]] = {}
    for run in runs:
        if run.run not in held:
            needed.setdefault(run.name, set()).update(made.keys() & places.expanded(run.outs).keys())
    shared = {other: len(md5s) for other, md5s in needed.items() if other != name and md5s}
    kept = set().union(*needed.values())
    return {md5: path for md5, path in made.items() if md5 not in kept}, shared


def _unrecorded(user: str, manifests: Sequence[Manifest], recorded: set[str], books: Books) -> set[str]:
    """Releases of nights that left no record, whose viewers are known from the release itself."""
    candidates = [one for one in manifests if one.name == books.name and one.release not in recorded]
    return {one.release for one in candidates if _serves(user, one, books)}


def _serves(user: str, manifest: Manifest, books: Books) -> bool:
    if VIEWERS not in manifest.parts:
        return False
    try:
        viewers = pl.read_parquet(io.BytesIO(books.store.get(blob_key(manifest.parts[VIEWERS]))))
    except Missing:
        return False
    return user in viewers.to_series().cast(pl.String)


def _blobs(manifests: Sequence[Manifest], releases: set[str], ended: set[str], books: Books) -> dict[str, str]:
    """Path by key of the parts that no other release has, but for the releases' records, which name no viewer."""
    gone: dict[str, str] = {}
    kept: set[str] = set()
    for one in manifests:
        for path, part in one.parts.items():
            if path.startswith(RECORD) or one.release not in releases | ended:
                kept.add(blob_key(part))
            elif one.release in releases:
                gone[blob_key(part)] = path
    asked = sorted(gone.keys() - kept)
    with ThreadPoolExecutor(PARALLEL) as pool:
        return {key: gone[key] for key, there in zip(asked, pool.map(books.store.exists, asked), strict=True) if there}
