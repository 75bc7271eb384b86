"""`audit hold` and `unhold`: say, signed and for good, that a release must be kept, or need not be any more."""

from collections.abc import Mapping
from typing import Any

from flows.live import Live
from infra.checkout import IN_USE
from infra.locks import locked
from lineage.retirement import refuse_retired


def hold(live: Live, prefix: str, *, reason: str) -> Mapping[str, Any]:
    """Put the release whose id starts with `prefix` on legal hold; the record.

    Raises:
        BadInput: there is no such release, or no reason.
        Refused: it is gone already.
    """
    release = live.known(prefix)
    with locked(live.settings.home_dir / IN_USE, shared=True):
        refuse_retired(live.books.store, release)
        made = live.holds.hold(release, signer=live.books.signer, by=live.settings.who, reason=reason)
        refuse_retired(live.books.store, release)  # it may have gone from another machine in the meantime
    return made.model_dump()


def lift(live: Live, prefix: str, *, reason: str) -> Mapping[str, Any]:
    """Free the release whose id starts with `prefix` of its hold; the record. Raises `BadInput` when it is not held."""
    made = live.holds.lift(live.known(prefix), signer=live.books.signer, by=live.settings.who, reason=reason)
    return made.model_dump()
