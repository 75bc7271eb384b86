"""Retired releases: never to be loaded again, because a viewer's data had to go or their time to be kept is over."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import Refused
from infra.stores import Missing, ObjectStore
from lineage.canonical import canonical, utc_now
from lineage.moments import minute
from lineage.signing import Signer, Untrusted, read_envelope

RETIRED = "retired/"
RETIRED_TYPE = "application/vnd.nightreel.retirement+json"
Why = Literal["erasure", "retention"]


class Retirement(BaseModel):
    """The end of a release.

    Attributes:
        release: which one.
        by, at, reason: who ended it, when (UTC, ISO 8601) and why.
        kind: `erasure` of a viewer, or `retention`: it was old, and nobody held it.
    """

    model_config = ConfigDict(frozen=True)

    release: str
    by: str
    at: str
    reason: str
    kind: Why = "erasure"

    def as_row(self) -> dict[str, str]:
        """Plain values, those in words included."""
        return self.model_dump() | {"word": self.word, "state": self.state, "sentence": self.sentence}

    @property
    def word(self) -> str:
        """What became of it."""
        return "retired" if self.kind == "erasure" else "gone by retention"

    @property
    def state(self) -> str:
        """The same, with who let it go and when."""
        return self.word if self.kind == "erasure" else f"{self.word}, {minute(self.at)} by {self.by}"

    @property
    def sentence(self) -> str:
        """Why it cannot be loaded."""
        if self.kind == "erasure":
            return (
                f"Release {self.release[:12]} was retired, because it held the data of a viewer who was erased: it can "
                "neither be loaded nor go live."
            )
        return (
            f"Release {self.release[:12]} is gone by retention: {self.by} removed its files at {minute(self.at)} UTC "
            f"({self.reason}). It can neither be loaded nor go live; what its books say of it stays."
        )


def retire(store: ObjectStore, signer: Signer, release: str, *, by: str, reason: str, kind: Why = "erasure") -> None:
    """Say, signed and for good, that `release` may not be loaded any more. A second time changes nothing."""
    payload = canonical({"release": release, "by": by, "reason": reason, "at": utc_now(), "kind": kind})
    store.put_if_absent(key_of(release), signer.envelope(payload, payload_type=RETIRED_TYPE))


def retired(store: ObjectStore) -> set[str]:
    """All releases that were retired."""
    return {key.removeprefix(RETIRED).removesuffix(".json") for key in store.keys(RETIRED)}


def is_retired(store: ObjectStore, release: str) -> bool:
    """Whether `release` was retired. Its being there counts, not who signed it: closed is the safe side."""
    return store.exists(key_of(release))


def retirement(store: ObjectStore, release: str) -> Retirement | None:
    """How `release` ended, None when it did not. Who signed it is for `lineage.verify_erasures` to prove."""
    try:
        data = store.get(key_of(release))
    except Missing:
        return None
    try:
        return Retirement.model_validate_json(read_envelope(data, what=key_of(release)).content())
    except (Untrusted, ValidationError):  # it counts all the same
        return Retirement(release=release, by="unknown", at="", reason="its record cannot be read")


def refuse_retired(store: ObjectStore, release: str) -> None:
    """Raise `Refused` when `release` was retired."""
    if ended := retirement(store, release):
        raise Refused(ended.sentence)


def key_of(release: str) -> str:
    """Where the retirement of `release` is stored."""
    return f"{RETIRED}{release}.json"
