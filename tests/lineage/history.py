"""Nights that never ran, as their records, releases and indexes would stand in a store."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from infra.stores import FolderStore
from lineage.ledger import Draft, Entry, Ledger
from lineage.manifest import build
from lineage.releases import Releases
from lineage.runs import LandedFile, OriginFile, RunRecord, put_record
from lineage.snapshots import put_index, write_index
from tests.lineage.test_manifest import FACTS

NAME = FACTS.name
VERDICT = {"passed": True, "challenger": "ease", "champion": None, "against": "popularity", "checks": []}
LOCK = """
schema: '2.0'
stages:
  prepare:
    cmd: python -m tasks.prepare
    deps: [{path: data/accepted, hash: md5, md5: aa.dir, size: 5, nfiles: 2}]
    params: {params.yaml: {seed: 1}}
    outs: [{path: data/prepared, hash: md5, md5: bb.dir, size: 6, nfiles: 3}]
  validate:
    cmd: python -m tasks.validate
    outs: [{path: data/accepted, hash: md5, md5: aa.dir, size: 5, nfiles: 2}]
"""


def digest(text: str) -> str:
    """A SHA-256 for anything that needs one."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Night:
    """What a night read and ran with.

    Attributes:
        days: day to the version of its source file; each landed in a file of its own.
        users, videos: ids of its snapshot.
        code: number of the code commit.
        numpy: version of the package.
        passed: the verdict.
    """

    days: tuple[tuple[str, int], ...]
    users: tuple[int, ...] | tuple[str, ...] = (1,)
    videos: tuple[int, ...] | tuple[str, ...] = (10,)
    code: int = 0
    numpy: str = "2.4.0"
    passed: bool = True

    @property
    def code_commit(self) -> str:
        """The commit whose code ran."""
        return digest(f"code {self.code}")[:40]

    def landed(self) -> tuple[LandedFile, ...]:
        """Its landed files."""
        return tuple(landed(day, version) for day, version in self.days)


def uri(day: str) -> str:
    """The source's file of a day."""
    return f"/logs/events/{day}.csv"


def landed(day: str, version: int) -> LandedFile:
    """The landed file of one version of a day."""
    sha = digest(f"landed {day} {version}")
    origin = OriginFile(uri=uri(day), bytes=7, sha256=digest(f"source {day} {version}"), etag=f"e-{day}-{version}")
    return LandedFile(
        table="events",
        file=f"{sha}.parquet",
        sha256=sha,
        bytes=9,
        first_rows=3,
        days=(day,),
        origins=(origin,),
        landed_at=f"{day}T02:00:00+00:00",
    )


@dataclass
class History:
    """A store with the books of one recommender, and what was put into it, remembered apart from it.

    Attributes:
        made: the nights by the release that each made.
        retired: releases whose data had to go, and which may not be loaded.
        live: the releases by ledger entry.
    """

    root: Path
    made: dict[str, list[Night]] = field(default_factory=dict)
    runs: list[RunRecord] = field(default_factory=list)
    retired: set[str] = field(default_factory=set)
    live: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FolderStore(self.root / "store")
        self.ledger = Ledger(self.store, NAME)
        self.releases = Releases(self.store, self.root / "cache")

    def night(self, night: Night) -> RunRecord:
        """Publish a night's release and its record; one that passed goes live unless it is live already."""
        number = len(self.runs) + 1
        folder = self.root / f"made-{number}"
        self._fill(folder, night)
        manifest = build(folder, FACTS.model_copy(update={"code": night.code_commit}))
        release = self.releases.publish(folder, manifest)
        record = RunRecord(
            name=NAME,
            run=f"2026-01-{number:02}-run",
            commit=digest(f"run {number}")[:40],
            code=night.code_commit,
            clean=True,
            as_of=f"2026-01-{number:02}",
            snapshot=manifest.parts["record/snapshot.json"].sha256,
            landed=night.landed(),
            quarantined={"events: rating is NaN or infinite": 2},
            packages={"NumPy": night.numpy, "python_dateutil": "2.9"},
            candidate="ease",
            verdict=night.passed,
            release=release,
            model_version=str(number),
            at=f"2026-01-{number:02}T03:00:00.000000Z",
        )
        put_index(self.store, NAME, record.snapshot, folder / "index-of-snapshot")
        put_record(self.store, record)
        self.made.setdefault(release, []).append(night)
        self.runs.append(record)
        if night.passed and release not in self.live[-1:] and release not in self.retired:
            self.enter("release", release)
        return record

    def enter(self, action: str, release: str) -> Entry:
        """One ledger entry."""
        expires = "2026-12-31" if action == "override" else None
        draft = Draft.model_validate(
            {
                "action": action,
                "release": release,
                "by": "ada",
                "reason": "so",
                "expires": expires,
                "model_version": "1",
            }
        )
        entry = self.ledger.append(draft, after=self.ledger.head())
        self.live.append(release)
        return entry

    def erase(self, user: int | str) -> None:
        """What an erasure leaves: the index of each snapshot that held the viewer is gone, its releases retired."""
        for record in self.runs:
            if any(user in night.users for night in self.made[record.release]):
                self.store.put_if_absent(f"retired/{record.release}.json", b"{}")
                self.retired.add(record.release)
                for file in (self.root / "store/snapshots" / NAME / record.snapshot).glob("*"):
                    file.unlink()

    def _fill(self, folder: Path, night: Night) -> None:
        (folder / "record").mkdir(parents=True)
        write_index(series(night.users), series(night.videos), folder / "index-of-snapshot")
        files = {"data/accepted/events.parquet": {"sha256": digest(str(night)), "bytes": 3, "rows": 3}}
        record = {
            "verdict.json": json.dumps(VERDICT | {"passed": night.passed}),
            "snapshot.json": json.dumps({"files": files}),
            "dvc.lock": LOCK,
        }
        for name, text in record.items():
            (folder / "record" / name).write_text(text)


def series(ids: Sequence[int] | Sequence[str]) -> pl.Series:
    """Ids as a table holds them."""
    return pl.Series(list(ids), dtype=pl.Int64 if ids and isinstance(ids[0], int) else pl.String)
