"""Requests for approval: a challenger that passed the gate and waits for a person, and what that person decided.

Request 7 of the recommender `movielens` stands under `approvals/movielens/00000007.request.json`, the decision beside
it; both are signed DSSE envelopes, put once. What has become of a request is not stored: it follows from these two, the
newer requests, the ledger and the clock.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import Refused
from infra.stores import Missing, ObjectStore
from lineage.books import Books
from lineage.canonical import Commit, Digest, canonical, sha256, utc_now
from lineage.ledger import Entry

APPROVALS = "approvals/"
REQUEST_TYPE = "application/vnd.nightreel.approval-request+json"
DECISION_TYPE = "application/vnd.nightreel.approval-decision+json"

State = Literal["waiting", "approved", "released", "declined", "lapsed", "superseded", "overtaken"]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encoded(self) -> bytes:
        """The bytes that are signed."""
        return canonical(self.model_dump())


Record = TypeVar("Record", bound=_Record)


class Asked(_Record):
    """A request.

    Attributes:
        seq: its number, from 1.
        name: the recommender.
        release, model_version, verdict, run, commit: of the challenger, as in a ledger entry.
        champion: the release whose model the verdict was held against; None: nothing was live.
        after: the newest ledger entry then; 0: there was none.
        at, until: when it was made and when it lapses, UTC, ISO 8601.
    """

    seq: Annotated[int, Field(ge=1)]
    name: str
    release: Digest
    model_version: str
    verdict: Digest
    run: str
    commit: Commit
    champion: Digest | None
    after: Annotated[int, Field(ge=0)]
    at: Moment
    until: Moment


class Decision(_Record):
    """A person's answer to the request whose bytes have the digest `request`."""

    request: Digest
    approved: bool
    by: str
    reason: str
    at: Moment


def asking(store: ObjectStore) -> list[str]:
    """Names of the recommenders that ever asked for approval in `store`, sorted."""
    return sorted({key.split("/")[1] for key in store.keys(APPROVALS)})


class Approvals:
    """The requests of one recommender."""

    def __init__(self, books: Books) -> None:
        """Nothing is read yet."""
        self._books = books
        self._folder = f"{APPROVALS}{books.name}/"

    def all(self) -> list[Asked]:
        """Every request, oldest first. Raises `Refused` that names one which is not as it was signed."""
        keys = [key for key in self._books.store.keys(self._folder) if key.endswith(".request.json")]
        return [self._request(key) for key in keys]

    def get(self, seq: int) -> Asked:
        """The request of this number. Raises `Missing`, or `Refused` when it is not as it was signed."""
        return self._request(f"{self._folder}{seq:08d}.request.json")

    def ask(self, asked: Asked) -> Asked:
        """Store a request under the next free number, which it is given; of two that race, one is the newer."""
        while True:
            envelope = self._books.signer.envelope(asked.encoded(), payload_type=REQUEST_TYPE)
            if self._books.store.put_if_absent(self._key(asked, "request"), envelope):
                return asked
            asked = asked.model_copy(update={"seq": asked.seq + 1})

    def decision(self, asked: Asked) -> Decision | None:
        """What was decided, None while nothing is. Raises `Refused` when it is not as it was signed."""
        try:
            decided = self._read(self._key(asked, "decision"), DECISION_TYPE, Decision)
        except Missing:
            return None
        if decided.request != sha256(asked.encoded()):
            raise Refused(f"The decision on request {asked.seq} of {asked.name} is about another request.")
        return decided

    def decide(self, asked: Asked, *, approved: bool, by: str, reason: str) -> Decision:
        """Store a decision; the first one stays, and is returned to whoever comes later."""
        decided = Decision(request=sha256(asked.encoded()), approved=approved, by=by, reason=reason, at=utc_now())
        envelope = self._books.signer.envelope(decided.encoded(), payload_type=DECISION_TYPE)
        if self._books.store.put_if_absent(self._key(asked, "decision"), envelope):
            return decided
        standing = self.decision(asked)
        assert standing is not None  # nothing is ever removed
        return standing

    def _request(self, key: str) -> Asked:
        """A request from where it stands: a copy under another number would make an old one the newest."""
        asked = self._read(key, REQUEST_TYPE, Asked)
        if (asked.name, self._key(asked, "request")) != (self._books.name, key):
            raise Refused(f"{key} is request {asked.seq} of {asked.name}, which does not belong there.")
        return asked

    def _key(self, asked: Asked, kind: str) -> str:
        return f"{self._folder}{asked.seq:08d}.{kind}.json"

    def _read(self, key: str, payload_type: str, kind: type[Record]) -> Record:
        content, _ = self._books.trust.open(self._books.store.get(key), payload_type=payload_type, what=key)
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise Refused(f"{key} cannot be read: {error.errors()[0]['msg']}.") from None


def state_of(
    asked: Asked,
    decided: Decision | None,
    *,
    newest: bool,
    since: Sequence[Entry],
    champion: str | None,
    now: datetime | None = None,
) -> State:
    """What has become of a request.

    Args:
        asked, decided: the request and the answer to it.
        newest: whether no later night asked for its own challenger.
        since: the ledger's entries behind `asked.after`.
        champion: the release whose model is live.
        now: this moment.
    """
    if any(entry.release == asked.release for entry in since):
        return "released"
    if decided and not decided.approved:
        return "declined"
    if not newest:
        return "superseded"
    if champion != asked.champion:
        return "overtaken"
    if decided:
        return "approved"
    until = datetime.fromisoformat(asked.until)
    return "lapsed" if (now or datetime.now(UTC)) > until else "waiting"


def rejected(approvals: Approvals) -> Iterator[tuple[Asked, Decision]]:
    """The requests that a person rejected, each with that answer."""
    for asked in approvals.all():
        decided = approvals.decision(asked)
        if decided and not decided.approved:
            yield asked, decided
