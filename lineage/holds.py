"""Legal holds: signed records that say which releases must be kept, whatever retention or an erasure would remove.

`holds/NAME/00000001.json` and so on, each written by put-if-absent and never removed: to lift a hold is a record, too.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import BadInput, Refused
from infra.stores import ObjectStore
from lineage.canonical import Digest, canonical, utc_now
from lineage.signing import Signer, Trust, Untrusted, read_envelope

log = logging.getLogger(__name__)

HOLDS = "holds/"
HOLD_TYPE = "application/vnd.nightreel.hold+json"


class Hold(BaseModel):
    """One record.

    Attributes:
        name: the recommender.
        seq: its number, from 1.
        release: which release.
        action: `hold` it, or `lift` the hold.
        by, at, reason: who did so, when (UTC, ISO 8601) and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    seq: Annotated[int, Field(ge=1)]
    release: Digest
    action: Literal["hold", "lift"]
    by: str
    at: str
    reason: str


class Holds:
    """The holds of the recommender `name`, in `store`."""

    def __init__(self, store: ObjectStore, name: str, trust: Trust) -> None:
        self.name = name
        self._store = store
        self._trust = trust

    def all(self) -> list[Hold]:
        """Every record, oldest first.

        One to hold that no trusted key signed counts all the same, with a warning, unless signatures are required; one
        to lift does not: kept is the safe side.

        Raises:
            Refused: a record is missing, cannot be read, or is not the one that its number says.
            Untrusted: a signature is wrong or foreign, and it is required or the record lifts a hold.
        """
        keys = list(self._store.keys(f"{HOLDS}{self.name}/"))
        for seq, key in enumerate(keys, start=1):
            if key != self._key(seq):
                raise Refused(f"Hold {seq} of {self.name} is missing, although later ones exist.")
        return [read_hold(key, self._store.get(key), self._trust) for key in keys]

    def standing(self) -> dict[str, Hold]:
        """The releases that are held now, each with the record that says so. Raises as `all` does."""
        held: dict[str, Hold] = {}
        for one in self.all():
            if one.action == "lift":
                held.pop(one.release, None)
            else:
                held[one.release] = one
        return held

    def hold(self, release: str, *, signer: Signer, by: str, reason: str) -> Hold:
        """Hold `release`; the record that is there where it is held already. Raises `BadInput` without a reason."""
        return self.standing().get(release) or self._record(release, "hold", signer=signer, by=by, reason=reason)

    def lift(self, release: str, *, signer: Signer, by: str, reason: str) -> Hold:
        """Lift the hold of `release`. Raises `BadInput` when it is not held, or without a reason."""
        if release not in self.standing():
            raise BadInput(f"Only a release on hold can be freed. Received: {release[:12]}, which is not held")
        return self._record(release, "lift", signer=signer, by=by, reason=reason)

    def _record(self, release: str, action: Literal["hold", "lift"], *, signer: Signer, by: str, reason: str) -> Hold:
        if not reason.strip():
            raise BadInput("Whoever holds a release, or frees it, gives a reason. Received: an empty one")
        while True:
            seq = len(self.all()) + 1
            made = Hold(name=self.name, seq=seq, release=release, action=action, by=by, at=utc_now(), reason=reason)
            envelope = signer.envelope(canonical(made.model_dump()), payload_type=HOLD_TYPE)
            if self._store.put_if_absent(self._key(seq), envelope):
                log.info("%s: %s of release %s is recorded", self.name, action, release[:12])
                return made

    def _key(self, seq: int) -> str:
        return f"{HOLDS}{self.name}/{seq:08d}.json"


def read_hold(key: str, data: bytes, trust: Trust) -> Hold:
    """The record that `data`, stored under `key`, is. Raises as `Holds.all` does."""
    what = f"The hold {key}"
    untrusted: Untrusted | None = None
    try:
        payload, _ = trust.open(data, payload_type=HOLD_TYPE, what=what)
    except Untrusted as error:
        untrusted, payload = error, read_envelope(data, what=what).content()
    try:
        hold = Hold.model_validate_json(payload)
    except ValidationError as error:
        raise Refused(f"{what} cannot be read: {error.errors()[0]['msg']}.") from None
    if key != f"{HOLDS}{hold.name}/{hold.seq:08d}.json":
        raise Refused(f"{what} says that it is hold {hold.seq} of {hold.name}.")
    if untrusted and (trust.required or hold.action == "lift"):
        raise untrusted
    if untrusted:
        log.warning("%s It is kept to all the same.", untrusted)
    return hold


def refuse_held(releases: Mapping[str, Hold], *, what: str) -> None:
    """Raise `Refused` that names the holds in the way of `what`, when there are any."""
    if not releases:
        return
    named = "; ".join(f"{release[:12]} by {hold.by} ({hold.reason})" for release, hold in sorted(releases.items()))
    raise Refused(
        f"{what} meets a legal hold: {named}. Nothing has been removed. When it may go, free each with `nightreel "
        "audit unhold RELEASE --reason TEXT` and run this again."
    )
