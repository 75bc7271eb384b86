"""What a night is asked for and what it answers."""

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["released", "unchanged", "waiting", "refused", "stopped", "measured", "skipped"]
Missed = Literal["catch-up", "skip"]
SourceKind = Literal["movielens", "kuairand", "files"]


class Request(BaseModel):
    """One night.

    Attributes:
        root: the checkout to run from.
        source: which reader lands the data; `path` is a folder or `s3://` prefix, none means the sample.
        as_of: the last day that the night may know; None: what the source's clock says.
        overrides: `key=value` settings of parameters.
        scheduled: nobody waits for the answer, so what another run is at already is left to that one.
        missed: whether a scheduled night first catches up with those that were missed, or names and skips them.
        limit_hours: the night is stopped after so long; None: never.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    source: SourceKind = "movielens"
    path: str | None = None
    as_of: date | None = None
    overrides: tuple[str, ...] = ()
    scheduled: bool = False
    missed: Missed = "skip"
    limit_hours: float | None = None


class Refreshed(BaseModel):
    """How a refresh ended.

    Attributes:
        status: `refreshed`; `unchanged`: the live release has every video as it is now; or `skipped`.
        release, seq: what is live; None when a refresh was skipped.
        new: videos that were not there before.
        reason: why it was skipped.
    """

    status: Literal["refreshed", "unchanged", "skipped"]
    name: str
    release: str | None = None
    seq: int | None = None
    new: int = 0
    reason: str | None = None


class Watched(BaseModel):
    """What monitoring found.

    Attributes:
        status: `nothing new`; `watched`; `rolled back`; or `rollback refused`: it is due and was not carried out.
        release, seq: what was live when it began, and its ledger entry; `candidate` and `as_of` of it.
        windows: every window of the recommender, oldest first, with its place in the control charts.
        new: how many of these were measured now.
        drift: figures of the newest window of the live release, each with bound and word.
        waiting: days with too few viewers so far.
        said: what a person should know, in sentences.
        entry: the ledger entry of a rollback, and the SHA-256 of its `evidence`.
    """

    status: Literal["nothing new", "watched", "rolled back", "rollback refused"]
    name: str
    release: str
    seq: int
    candidate: str
    as_of: str
    primary: str
    new: int = 0
    windows: tuple[dict[str, Any], ...] = ()
    drift: tuple[dict[str, Any], ...] = ()
    waiting: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    entry: int | None = None
    evidence: str | None = None


class Outcome(BaseModel):
    """How a night ended.

    Attributes:
        status: `released`; `unchanged`: the live release already serves these bytes; `waiting`: it passed, and a
            person has to approve it; `refused`: the gate said no; `stopped`: nothing could be judged; `measured`: a
            leaderboard, which releases nothing; `skipped`: another run does or did the same.
        primary: the primary metric's name; `challenger_score` and `champion_score` are its values.
        reasons: why it was refused, stopped or skipped.
        until: when a request for approval lapses, UTC, ISO 8601.
        refresh: what became of new videos where the live model stays.
        override: what is to be said of a live release that never passed the gate and whose time is over.
        seconds: wall time of each step.
        docs: the run's Data Docs.
    """

    status: Status
    name: str
    as_of: str
    run: str | None = None
    commit: str | None = None
    rows: int | None = None
    quarantined: int | None = None
    challenger: str | None = None
    primary: str | None = None
    challenger_score: float | None = None
    champion_score: float | None = None
    release: str | None = None
    seq: int | None = None
    model_version: str | None = None
    until: str | None = None
    reasons: tuple[str, ...] = ()
    failed_candidates: dict[str, str] = {}
    refresh: str | None = None
    override: str | None = None
    seconds: dict[str, float] = {}
    docs: str | None = None

    def as_row(self) -> dict[str, Any]:
        """The outcome as plain JSON types."""
        return self.model_dump(mode="json")
