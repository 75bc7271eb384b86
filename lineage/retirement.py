"""Retired releases: they were live once, and may never be loaded again, because somebody's data had to go."""

from infra.errors import Refused
from infra.stores import ObjectStore
from lineage.canonical import canonical, utc_now
from lineage.signing import Signer

RETIRED_TYPE = "application/vnd.nightreel.retirement+json"


def retire(store: ObjectStore, signer: Signer, release: str, *, by: str, reason: str) -> None:
    """Say, signed and for good, that `release` may not be loaded any more. A second time changes nothing."""
    payload = canonical({"release": release, "by": by, "reason": reason, "at": utc_now()})
    store.put_if_absent(key_of(release), signer.envelope(payload, payload_type=RETIRED_TYPE))


def is_retired(store: ObjectStore, release: str) -> bool:
    """Whether `release` was retired. Its being there counts, not who signed it: closed is the safe side."""
    return store.exists(key_of(release))


def refuse_retired(store: ObjectStore, release: str) -> None:
    """Raise `Refused` when `release` was retired."""
    if is_retired(store, release):
        raise Refused(
            f"Release {release[:12]} was retired, because it held the data of a viewer who was erased: it can neither "
            "be loaded nor go live."
        )


def key_of(release: str) -> str:
    """Where the retirement of `release` is stored."""
    return f"retired/{release}.json"
