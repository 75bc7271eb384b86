"""Forwards: which snapshots, model versions, releases and ledger intervals one thing has reached.

A night's record names everything that a question can be about, but for viewers and videos, which stand in the index of
its snapshot. `lineage.trace` shows the same records of a release, so that both directions tell one story.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from infra.errors import BadInput
from infra.s3 import SCHEME
from infra.stores import ObjectStore
from lineage.canonical import sha256_of_file
from lineage.intervals import Interval, intervals
from lineage.ledger import Ledger
from lineage.retirement import Retirement, retirement
from lineage.runs import LandedFile, RunRecord, records
from lineage.snapshots import holding, indexed

Kind = Literal["file", "user", "video", "day", "commit", "package"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COMMIT = re.compile(r"[0-9a-f]{7,64}")
PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")


@dataclass(frozen=True)
class Query:
    """What is asked about.

    Attributes:
        kind: what sort of thing it is.
        value: the thing, in the form in which `matches` looks for it.
        also: further names of the same thing: a file's absolute path and the digest of its bytes here.
    """

    kind: Kind
    value: str
    also: frozenset[str] = frozenset()

    @classmethod
    def of(cls, kind: Kind, text: str) -> "Query":
        """The query that a person means by `text`. Raises `BadInput` where it cannot name such a thing."""
        if not text:
            raise BadInput(f"--{kind} must name something. Received: nothing")
        if kind == "file":
            return cls(kind, text.strip('"'), _names_of(text))
        if kind == "day":
            return cls(kind, _day(text))
        if kind == "commit":
            return cls(kind, _commit(text))
        return cls(kind, _package(text) if kind == "package" else text)

    def matches(self, night: RunRecord, *, holders: frozenset[str]) -> bool:
        """Whether the night read it or ran with it. `holders`: snapshots that hold it, of a viewer or a video."""
        if self.kind == "file":
            return any(not self._names.isdisjoint(_names(part)) for part in night.landed)
        if self.kind == "day":
            return any(self.value in part.days for part in night.landed)
        if self.kind == "commit":
            return night.code.startswith(self.value) or night.commit.startswith(self.value)
        if self.kind == "package":
            return self.value in {_normal(name, version) for name, version in night.packages.items()}
        return night.snapshot in holders

    @property
    def _names(self) -> frozenset[str]:
        return self.also | {self.value}


def impact(query: Query, *, ledger: Ledger, store: ObjectStore) -> dict[str, Any]:
    """Everything that the thing asked about has reached, as plain JSON types.

    Returns:
        `nights`: each night that it reached, released, refused or unchanged; `snapshots` and `model_versions`: theirs;
        `releases`: what was made of them, with the `intervals` in which each was live, whether it is `live` now, and
        whether it was `retired` and how it `ended` (`Retirement.as_row`), None when it did not. What the answer cannot
        know: `unindexed`, snapshots without an index (asked about a viewer or a video), and `unrecorded`, releases in
        the ledger that no night's record tells of.

    Raises:
        BrokenChain: the ledger does not hold.
        Refused: a record or an index cannot be read.
    """
    nights = records(store, ledger.name)
    lives = intervals(ledger.entries())
    holders, unindexed = _holders(query, nights, store=store, name=ledger.name)
    reached = [night for night in nights if query.matches(night, holders=holders)]
    recorded = {night.release for night in nights}
    by_release: dict[str, list[RunRecord]] = {}
    for night in reached:
        if night.release:
            by_release.setdefault(night.release, []).append(night)
    return {
        "name": ledger.name,
        "query": {"kind": query.kind, "value": query.value, "also": sorted(query.also)},
        "nights": [night.model_dump(mode="json", exclude={"landed", "packages", "quarantined"}) for night in reached],
        "snapshots": _distinct(night.snapshot for night in reached),
        "model_versions": _distinct(night.model_version for night in reached if night.model_version),
        "releases": [
            _release(release, made_by, lives.get(release, []), ended=retirement(store, release))
            for release, made_by in by_release.items()
        ],
        "unindexed": unindexed,
        "unrecorded": [release for release in lives if release not in recorded],
    }


def _release(
    release: str, made_by: Sequence[RunRecord], lives: Sequence[Interval], *, ended: Retirement | None
) -> dict[str, Any]:
    return {
        "release": release,
        "candidate": made_by[0].candidate,
        "as_of": made_by[0].as_of,
        "passed": any(night.verdict for night in made_by),
        "runs": _distinct(night.run for night in made_by),
        "model_versions": _distinct(night.model_version for night in made_by if night.model_version),
        "live": any(one.until is None for one in lives),
        "retired": ended is not None,
        "ended": ended and ended.as_row(),
        "intervals": [one.as_row() for one in lives],
    }


def _holders(
    query: Query, nights: Sequence[RunRecord], *, store: ObjectStore, name: str
) -> tuple[frozenset[str], list[str]]:
    """Snapshots that hold the viewer or video, and those that cannot tell; neither for other questions."""
    if query.kind not in ("user", "video"):
        return frozenset(), []
    snapshots = _distinct(night.snapshot for night in nights)
    there = indexed(store, name)
    asked = {"user": query.value} if query.kind == "user" else {"video": query.value}
    unindexed = [snapshot for snapshot in snapshots if snapshot not in there]
    return frozenset(holding(store, name, snapshots, **asked)), unindexed


def _names(part: LandedFile) -> set[str]:
    """By what a landed file can be asked for: its own name and digest, and those of each file it was made of."""
    origins = {name for origin in part.origins for name in (origin.uri, origin.sha256, origin.etag) if name}
    return {part.file, part.sha256} | origins


def _names_of(text: str) -> frozenset[str]:
    if text.startswith(SCHEME):
        return frozenset()
    path = Path(text).resolve()
    return frozenset({str(path), sha256_of_file(path)} if path.is_file() else {str(path)})


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadInput(f"--day is a date such as 2016-10-16. Received: {text!r}") from None


def _commit(text: str) -> str:
    if not COMMIT.fullmatch(text.lower()):
        raise BadInput(f"--commit is at least 7 hexadecimal digits of a commit. Received: {text!r}")
    return text.lower()


def _package(text: str) -> str:
    named = PACKAGE.fullmatch(text)
    if not named:
        raise BadInput(f"--package is NAME==VERSION, such as numpy==2.4.0. Received: {text!r}")
    return _normal(named[1], named[2])


def _normal(name: str, version: str) -> str:
    """One spelling of a package's name, as PEP 503 gives it."""
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
