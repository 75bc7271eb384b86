"""Nights that never ran, as their records, releases and indexes would stand in a store."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from infra.settings import Settings
from lineage.attestation import Origin, attest
from lineage.books import Books
from lineage.ledger import Draft, Entry
from lineage.manifest import build
from lineage.runs import LandedFile, OriginFile, RunRecord, put_record
from lineage.snapshots import put_index, write_index
from tests.lineage.test_manifest import FACTS

NAME = FACTS.name
CHECK = {"name": "primary", "challenger": 0.125, "champion": 0.1, "bound": 0, "passed": True, "reason": "a > b & c"}
VERDICT = {"passed": True, "challenger": "ease", "champion": None, "against": "popularity", "checks": [CHECK]}
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
        commit: the code commit itself, where it must exist; None: one made up from `code`.
        numpy: version of the package.
        passed: the verdict.
    """

    days: tuple[tuple[str, int], ...]
    users: tuple[int, ...] | tuple[str, ...] = (1,)
    videos: tuple[int, ...] | tuple[str, ...] = (10,)
    code: int = 0
    numpy: str = "2.4.0"
    passed: bool = True
    commit: str | None = None

    @property
    def packages(self) -> dict[str, str]:
        """Versions by name."""
        return {"NumPy": self.numpy, "python_dateutil": "2.9"}

    @property
    def code_commit(self) -> str:
        """The commit whose code ran."""
        return self.commit or digest(f"code {self.code}")[:40]

    def record(self) -> dict[str, Any]:
        """The files of its release's folder `record/`, by name."""
        rows = {"raw": 5, "accepted": 3 * len(self.days), "quarantined": 2}
        check = {"name": "schema", "observed": 0, "bound": "at most 0", "passed": True, "reason": "columns are right"}
        faults = {"events: rating is NaN or infinite": 2}
        accepted = {"sha256": digest(str(self)), "bytes": 3, "rows": 3 * len(self.days)}
        slices = {"activity=low": {"ndcg@10": 0.5, "hit@10": 0.25, "viewers": 4}}
        metrics = {"ndcg@10": 0.125 + self.code, "hit@10": 0.5, "coverage@10": 0.75, "ndcg@5": 0.1}
        return {
            "verdict.json": VERDICT | {"passed": self.passed, "checks": [CHECK | {"passed": self.passed}]},
            "snapshot.json": {"files": {"data/accepted/events.parquet": accepted}},
            "dvc.lock": LOCK,
            "params.yaml": f"seed: 1\nevaluate: {{primary: ndcg@10}}\ntrain: {{ease: {{l2: {100 + self.code}}}}}\n",
            "index.json": {"challenger": "ease", "candidates": {"ease": 0.125, "popularity": 0.1, "sasrec": None}},
            "validation.json": {"rows": {"events": rows}, "quarantined": faults, "checks": [check]},
            "evaluate-ease.json": {"viewers": 9, "metrics": metrics, "slices": slices},
            "train-ease.json": {"device": "cpu", "software": "numpy 2.4.0"},
            "landed.json": {"parts": [part.model_dump(mode="json") for part in self.landed()]},
        }

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
        settings = Settings(home=self.root / "home", store=str(self.root / "store"))
        self.books = Books(settings, NAME, require_signature=False)
        self.store, self.ledger, self.releases = self.books.store, self.books.ledger, self.books.releases

    def night(self, night: Night) -> RunRecord:
        """Publish a night's release and its record; one that passed goes live unless it is live already."""
        number = len(self.runs) + 1
        folder = self.root / f"made-{number}"
        self._fill(folder, night)
        environment = FACTS.environment.model_copy(update={"packages": night.packages})
        manifest = build(folder, FACTS.model_copy(update={"code": night.code_commit, "environment": environment}))
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
            packages=night.packages,
            candidate="ease",
            verdict=night.passed,
            release=release,
            model_version=str(number),
            at=f"2026-01-{number:02}T03:00:00.000000Z",
        )
        put_index(self.store, NAME, record.snapshot, folder / "index-of-snapshot")
        attest(self.store, self.books.signer, folder, manifest, Origin(record.run, record.commit, clean=True))
        put_record(self.store, record)
        self.made.setdefault(release, []).append(night)
        self.runs.append(record)
        if night.passed and release not in self.live[-1:] and release not in self.retired:
            self.enter("release", release)
        return record

    def enter(self, action: str, release: str, *, reason: str = "so") -> Entry:
        """One ledger entry."""
        expires = "2026-12-31" if action == "override" else None
        draft = Draft.model_validate(
            {
                "action": action,
                "release": release,
                "by": "ada",
                "reason": reason,
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
        for name, content in night.record().items():
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / "record" / name).write_text(text)


def series(ids: Sequence[int] | Sequence[str]) -> pl.Series:
    """Ids as a table holds them."""
    return pl.Series(list(ids), dtype=pl.Int64 if ids and isinstance(ids[0], int) else pl.String)
