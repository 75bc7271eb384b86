"""The ledger: an append-only, hash-chained list of what went live. Its last entry names the live release.

Entry 42 of the recommender `movielens` stands under `ledgers/movielens/00000042.json`, holds the SHA-256 of entry 41's
bytes, and is written by put-if-absent, so that of two writers one wins. Each entry is signed. No chain can show that
its newest entries were cut off: that takes a witness outside the store (`lineage.witness`).
"""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.errors import BadInput, Refused
from infra.stores import Missing, ObjectStore
from lineage.canonical import Commit, Digest, canonical, sha256, utc_now
from lineage.lease import Leases, LostLease
from lineage.signing import Signature, Signer, Trust
from lineage.witness import Seen, Witness

log = logging.getLogger(__name__)

LEDGERS = "ledgers/"
ENTRY = re.compile(r"/\d{8}\.json$")
ENTRY_TYPE = "application/vnd.nightreel.ledger-entry+json"


class BrokenChain(Refused):
    """An entry is missing, unreadable, or not the one that its successor was written after."""


class LostRace(Refused):
    """Another writer's entry took the number: the verdict was against an old champion."""


class Draft(BaseModel):
    """What a writer wants to make live.

    Attributes:
        action: the verb. An `override` makes a release live that did not pass the gate; a `refresh` brings new videos
            to the model that is live.
        release: SHA-256 of the release's manifest.
        model_version: MLflow's version of the model.
        verdict: SHA-256 of the gate's verdict.
        run: the night's run; None for what a person does.
        commit: the run's git commit.
        by: who does it.
        reason: why, in the words of `by`.
        expires: the day (UTC, ISO 8601) after which an override is reported every night; of an override alone.
        fence: the token of the lease under which a night or a refresh did it; None for what a person does.
        evidence: SHA-256 of what a rollback without a person rests on (`lineage.windows`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    action: Literal["release", "promote", "rollback", "override", "refresh"]
    release: Digest
    model_version: str | None = None
    verdict: Digest | None = None
    run: str | None = None
    commit: Commit | None = None
    by: str
    reason: str
    expires: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None
    # left out where there is none, so that entries from before they were there keep their signed bytes
    fence: Annotated[int | None, Field(ge=1, exclude_if=lambda value: value is None)] = None
    evidence: Annotated[Digest | None, Field(exclude_if=lambda value: value is None)] = None

    @model_validator(mode="after")
    def _only_overrides_expire(self) -> "Draft":
        if (self.action == "override") != (self.expires is not None):
            raise ValueError("an override has a day on which it expires, and nothing else has")
        if self.evidence is not None and self.action != "rollback":
            raise ValueError("a rollback rests on evidence, and nothing else does")
        return self


class Entry(Draft):
    """A draft that went live.

    Attributes:
        seq: its number, from 1.
        previous: SHA-256 of the bytes of entry `seq - 1`, None for the first.
        at: when, UTC, ISO 8601.
        signature: over all the rest, in canonical form.
    """

    seq: Annotated[int, Field(ge=1)]
    previous: Digest | None
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
    signature: Signature | None = None

    def encoded(self) -> bytes:
        """The bytes that the store keeps and that the next entry's `previous` is taken of."""
        return canonical(self.model_dump())

    def signed_bytes(self) -> bytes:
        """What `signature` is made over."""
        return canonical(self.model_dump(exclude={"signature"}))

    def lapsed(self, today: date) -> bool:
        """Whether this is an override whose time is over."""
        return self.expires is not None and date.fromisoformat(self.expires) < today

    def carries(self, draft: Draft) -> bool:
        """Whether this is `draft` gone live: the same writer, for the same run, did the same to the same release."""
        mine = (self.action, self.release, self.run, self.by, self.expires, self.fence)
        return mine == (draft.action, draft.release, draft.run, draft.by, draft.expires, draft.fence)


def recommenders(store: ObjectStore) -> list[str]:
    """Names of the recommenders that have a ledger in `store`, sorted."""
    return sorted({key.split("/")[1] for key in store.keys(LEDGERS)})


class Ledger:
    """The ledger of the recommender `name` in `store`.

    Without a `signer` new entries carry no signature; without `trust` signatures are not looked at; without a
    `witness` nobody remembers how far the chain has been seen to go.
    """

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        *,
        signer: Callable[[], Signer] | None = None,
        trust: Trust | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.name = name
        self._store = store
        self._signer = signer
        self._trust = trust
        self._witness = witness

    def head(self) -> Entry | None:
        """The newest entry, None when nothing ever went live. Reads two entries and looks for about `2 log2(n)`.

        Raises:
            BrokenChain: the newest entry is not the successor of the one before it, a number was left out, or entries
                that this machine has seen are gone.
            Untrusted: its signature is required, and missing, wrong or foreign.
        """
        return self._head(self._seen())

    def proven_head(self) -> Entry | None:
        """The newest entry as in `head`, and every link up to it: what is asked before anything is loaded.

        The links are followed from the first entry, or from the one up to which the witness saw them hold.
        """
        seen = self._seen()
        head = self._head(seen)
        previous = self._bytes(seen.seq) if seen else None
        for seq in range(seen.seq + 1 if seen else 1, head.seq + 1 if head else 1):
            data = self._bytes(seq)
            self._follow(seq, data, previous)
            previous = data
        if self._witness and head and previous:
            self._witness.note(self.name, Seen(seq=head.seq, sha256=sha256(previous)))
        return head

    def check_signature(self, entry: Entry, trust: Trust) -> str:
        """The id of the trusted key that signed `entry`. Raises `Untrusted`."""
        what = f"Entry {entry.seq} of the ledger of {self.name}"
        return trust.check(entry.signed_bytes(), entry.signature, payload_type=ENTRY_TYPE, what=what)

    def newest_fence(self) -> int:
        """The token that the newest entry was written under, 0 for none. Raises as `head`."""
        head = self.head()
        return (head.fence or 0) if head else 0

    def live(self) -> str | None:
        """The release that is live, None when there is none."""
        head = self.head()
        return head.release if head else None

    def get(self, seq: int) -> Entry:
        """Entry `seq`, itself readable, its place in the chain not checked.

        Raises:
            BadInput: there is no such entry.
            BrokenChain: it cannot be read.
        """
        try:
            return self._parse(seq, self._store.get(self._key(seq)))
        except Missing:
            raise BadInput(f"The ledger of {self.name} has no such entry. Received: {seq}") from None

    def entries(self) -> Iterator[Entry]:
        """All entries from the first to the newest, each checked against the one before it.

        Raises:
            BrokenChain: names the first entry that does not hold.
        """
        previous: bytes | None = None
        for seq in range(1, self._newest() + 1):
            data = self._bytes(seq)
            yield self._follow(seq, data, previous)
            previous = data

    def examined(self) -> Iterator[tuple[int, Entry | BrokenChain]]:
        """Each number up to the last that is there, with its entry or what is wrong with it: for an audit."""
        folder = f"{LEDGERS}{self.name}/"
        numbers = [int(key[-13:-5]) for key in self._store.keys(folder) if ENTRY.search(key)]
        previous: bytes | None = None
        for seq in range(1, max(numbers, default=0) + 1):
            data: bytes | None = None
            try:
                data = self._bytes(seq)
                yield seq, self._follow(seq, data, previous)
            except BrokenChain as fault:
                yield seq, fault
            previous = data

    def withdrawn(self) -> dict[str, Entry]:
        """Releases that a person rolled back from and nobody made live again, each with the entry that did so."""
        gone: dict[str, Entry] = {}
        before: Entry | None = None
        for entry in self.entries():
            if entry.action == "rollback" and before:
                gone[before.release] = entry
            gone.pop(entry.release, None)
            before = entry
        return gone

    def append(self, draft: Draft, *, after: Entry | None) -> Entry:
        """Make `draft` live as the entry behind `after`, the newest when the writer made up its mind; None: the first.

        The same append may be tried again after a kill or an unclear answer, with the same `after` or with a newer
        one: when the entry is found, it is returned and nothing is written.

        Raises:
            BadInput: the draft gives no reason.
            LostLease: another run was given the lease after that of `draft.fence`.
            LostRace: another entry stands behind `after`.
            BrokenChain: `after` is not the entry that the store holds.
        """
        if not draft.reason.strip():
            raise BadInput("Whoever changes what is live gives a reason. Received: an empty one")
        if after and after.carries(draft):
            return after
        self._refuse_fenced_off(draft, after)
        seq = after.seq + 1 if after else 1
        previous = self._bytes(after.seq) if after else None
        if after and previous and self._parse(after.seq, previous) != after:
            raise BrokenChain(f"Entry {after.seq} of the ledger of {self.name} is not the one that was read before.")
        at = utc_now()
        entry = Entry(**draft.model_dump(), seq=seq, previous=sha256(previous) if previous else None, at=at)
        if self._signer:
            signature = self._signer().sign(entry.signed_bytes(), payload_type=ENTRY_TYPE)
            entry = entry.model_copy(update={"signature": signature})
        if self._store.put_if_absent(self._key(seq), entry.encoded()):
            log.info("%s: release %s is live (ledger entry %d, %s)", self.name, draft.release[:12], seq, draft.action)
            return entry
        found = self._linked(seq)
        if found.carries(draft):
            return found
        raise LostRace(
            f"Entry {seq} of the ledger of {self.name} is already taken by {found.by}, who made release "
            f"{found.release[:12]} live at {found.at}. Compare with that release and try again."
        )

    def _refuse_fenced_off(self, draft: Draft, after: Entry | None) -> None:
        if draft.fence is None:
            return
        Leases(self._store, self.name).check(draft.fence)
        if after and after.fence and after.fence > draft.fence:  # should the lease's own states be gone
            raise LostLease(
                f"A run with token {draft.fence} of the lease of {self.name} may not follow entry {after.seq}, which "
                f"was made with the later token {after.fence}."
            )

    def _key(self, seq: int) -> str:
        return f"{LEDGERS}{self.name}/{seq:08d}.json"

    def _seen(self) -> Seen | None:
        return self._witness.seen(self.name) if self._witness else None

    def _head(self, seen: Seen | None) -> Entry | None:
        seq = self._newest()
        if self._witness and seen:
            self._witness.compare(self.name, seen, seq, self._bytes)
        if not seq:
            return None
        entry = self._linked(seq)
        if self._trust and self._trust.required:
            self.check_signature(entry, self._trust)
        return entry

    def _newest(self) -> int:
        """The newest number: gallop and bisect by `exists`, then ask the store for anything behind it."""
        low, high = 0, 1
        while self._store.exists(self._key(high)):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._store.exists(self._key(middle)) else (low, middle)
        return self._confirmed(low)

    def _confirmed(self, newest: int) -> int:
        """`newest`, or higher when others have appended since. A number left out must not hide all behind it."""
        folder = f"{LEDGERS}{self.name}/"
        while beyond := next(filter(ENTRY.search, self._store.keys(folder, after=self._key(newest))), None):
            if not self._store.exists(self._key(newest + 1)):
                raise self._gap(newest + 1, f"{beyond} exists")
            newest += 1
        return newest

    def _bytes(self, seq: int) -> bytes:
        try:
            return self._store.get(self._key(seq))
        except Missing:
            raise self._gap(seq, "later ones exist") from None

    def _gap(self, seq: int, why: str) -> BrokenChain:
        return BrokenChain(f"Entry {seq} of the ledger of {self.name} is missing, although {why}.")

    def _parse(self, seq: int, data: bytes) -> Entry:
        try:
            entry = Entry.model_validate_json(data)
        except ValidationError as error:
            fault = error.errors()[0]
            raise BrokenChain(
                f"Entry {seq} of the ledger of {self.name} cannot be read: "
                f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}."
            ) from None
        if entry.seq != seq:
            raise BrokenChain(f"Entry {seq} of the ledger of {self.name} says that it is entry {entry.seq}.")
        return entry

    def _linked(self, seq: int) -> Entry:
        return self._follow(seq, self._bytes(seq), self._bytes(seq - 1) if seq > 1 else None)

    def _follow(self, seq: int, data: bytes, previous: bytes | None) -> Entry:
        entry = self._parse(seq, data)
        expected = sha256(previous) if previous is not None else None
        if entry.previous != expected:
            raise BrokenChain(
                f"Entry {seq} of the ledger of {self.name} was written after another entry {seq - 1} than the one "
                f"that is there: one of the two was changed. Received: {expected}, recorded: {entry.previous}"
            )
        return entry
