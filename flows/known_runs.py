"""Every run that this installation knows of: by its record in the store, by its git ref, by its folder here."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from infra.dvc_removal import outs_of
from infra.errors import BadInput
from infra.git import RUN_REFS, git, show
from infra.stores import Missing
from lineage.books import Books
from lineage.releases import blob_key
from lineage.runs import RUNS, RunRecord, records
from tasks import paths
from tasks.stage import read_json

LOCK = "record/dvc.lock"
PARALLEL = 8


@dataclass
class KnownRun:
    """One run, as far as it is known.

    Attributes:
        run, name: the run and its recommender.
        outs: path by MD5 of all that its steps wrote, over all its commits and in its folder.
        records: its records in the store, one a verdict.
        configs: what its commits say to DVC.
        folder: its folder on this machine.
    """

    run: str
    name: str
    outs: dict[str, str] = field(default_factory=dict)
    records: list[RunRecord] = field(default_factory=list)
    configs: list[str] = field(default_factory=list)
    folder: Path | None = None


def known_runs(books: Books, root: Path) -> list[KnownRun]:
    """All runs of all recommenders, by name.

    Args:
        books: where the store and the home folder are.
        root: the checkout with the runs' refs.
    """
    found: dict[str, KnownRun] = {}
    for record, outs in _recorded(books):
        run = found.setdefault(record.run, KnownRun(record.run, record.name))
        run.records.append(record)
        run.outs |= outs
    for commit, one in _committed(root):
        run = found.setdefault(one.run, one)
        run.outs |= outs_of(_shown(commit, "dvc.lock", root))
        run.configs.append(_shown(commit, ".dvc/config", root))
    for folder in sorted((books.settings.home_dir / "runs").glob("*/checkout")):
        if (folder / paths.LANDED).exists():
            one = KnownRun(folder.parent.name, str(read_json(folder / paths.LANDED)["name"]))
            run = found.setdefault(one.run, one)
            run.folder = folder.parent
            lock = folder / "dvc.lock"
            run.outs |= outs_of(lock.read_text(encoding="utf-8")) if lock.exists() else {}
    return [found[run] for run in sorted(found)]


def _recorded(books: Books) -> Iterator[tuple[RunRecord, dict[str, str]]]:
    names = sorted({key.split("/")[1] for key in books.store.keys(RUNS)})
    every = [record for name in names for record in records(books.store, name)]
    with ThreadPoolExecutor(PARALLEL) as pool:
        yield from zip(
            every,
            pool.map(lambda record: _released_outs(books, record.release), every),
            strict=True,
        )


def _released_outs(books: Books, release: str | None) -> dict[str, str]:
    if release is None:
        return {}
    try:
        lock = books.store.get(blob_key(books.releases.manifest(release).parts[LOCK]))
    except Missing:
        return {}
    return outs_of(lock.decode())


def _committed(root: Path) -> Iterator[tuple[str, KnownRun]]:
    """Each commit that a run has made, newest first, and the run."""
    for ref in git("for-each-ref", "--format=%(refname)", RUN_REFS, at=root).splitlines():
        run = ref.removeprefix(f"{RUN_REFS}/")
        own = git("log", "--format=%H", "--fixed-strings", f"--grep=Night {run}: ", ref, at=root).splitlines()
        for commit in own:
            yield commit, KnownRun(run, str(json.loads(show(commit, paths.LANDED.as_posix(), at=root))["name"]))


def _shown(commit: str, path: str, root: Path) -> str:
    """A file of a commit, empty when it has none."""
    try:
        return show(commit, path, at=root).decode()
    except BadInput:
        return ""
