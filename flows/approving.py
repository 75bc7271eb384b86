"""A challenger that waits for a person: asked for, approved, rejected, and carried out by the ledger's protocol."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from flows.going_live import make_live
from flows.live import Live
from infra.errors import BadInput, Refused
from lineage.approvals import Asked, Decision, State, state_of
from lineage.canonical import utc_now
from lineage.ledger import Draft, Entry
from lineage.recorded import trained_release

WAITING = "challenger"  # the alias that shows what waits
SAID: Mapping[State, str] = {
    "waiting": "waits for a person",
    "approved": "was approved and is not live yet",
    "released": "went live already",
    "declined": "was rejected",
    "superseded": "was superseded by the challenger of a newer night",
    "overtaken": "was held against a release that is not live any more; the next night judges again",
    "lapsed": "has lapsed; the next night that passes asks again",
}


def ask(draft: Draft, live: Live, *, after: Entry | None) -> Asked:
    """Have the release of `draft`, which passed against `after`, wait for a person; the request that there is now.

    The same challenger waits on under its first request; another one supersedes that.
    """
    before = live.approvals.all()
    if before and before[-1].release == draft.release and state(before[-1], live) == "waiting":
        asked = before[-1]
    else:
        at = utc_now()
        until = datetime.fromisoformat(at) + timedelta(hours=live.gate.approval_hours)
        known = draft.model_dump(include={"release", "model_version", "verdict", "run", "commit"})
        asked = live.approvals.ask(
            Asked(
                seq=len(before) + 1,
                name=live.name,
                champion=trained_release(after.release, live.books) if after else None,
                after=after.seq if after else 0,
                at=at,
                until=until.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                **known,
            )
        )
        for older in before[-1:]:
            if state(older, live) == "superseded":
                tell(older.model_version, "superseded", live)
    live.registry.tag_version(asked.model_version, {live.gate.approval_tag: "waiting"})
    live.registry.set_alias(WAITING, asked.model_version)
    return asked


def state(asked: Asked, live: Live) -> State:
    """What has become of a request."""
    return _state(asked, live.approvals.all(), live)


def _state(asked: Asked, every: Sequence[Asked], live: Live) -> State:
    head = live.ledger.head()
    since = [live.ledger.get(seq) for seq in range(asked.after + 1, head.seq + 1 if head else 1)]
    return state_of(
        asked,
        live.approvals.decision(asked),
        newest=every[-1].seq == asked.seq,
        since=since,
        champion=trained_release(head.release, live.books) if head else None,
    )


def waiting(live: Live) -> Asked | None:
    """The request that waits for a person now, if any."""
    every = live.approvals.all()
    return every[-1] if every and _state(every[-1], every, live) == "waiting" else None


def request_for(version: str, live: Live) -> Asked | None:
    """The newest request for a model version, None where there never was one."""
    return next((asked for asked in reversed(live.approvals.all()) if asked.model_version == version), None)


def request_of(release: str, live: Live) -> Asked | None:
    """The newest request for a release, None where there never was one."""
    return next((asked for asked in reversed(live.approvals.all()) if asked.release == release), None)


def approve(version: str, live: Live, *, by: str, reason: str) -> Entry:
    """Approve what waits, and make it live.

    Raises:
        BadInput: nobody asked for this version, or no reason is given.
        Refused: it does not wait any more, or another went live since.
    """
    asked = _open(version, live, reason)
    decided = live.approvals.decide(asked, approved=True, by=by, reason=reason)
    if not decided.approved:
        raise Refused(_settled(asked, "declined", decided))
    return carry_out(asked, decided, live)


def reject(version: str, live: Live, *, by: str, reason: str) -> Decision:
    """Reject what waits; its bytes do not ask again. Raises like `approve`."""
    asked = _open(version, live, reason)
    decided = live.approvals.decide(asked, approved=False, by=by, reason=reason)
    if decided.approved:
        raise Refused(_settled(asked, "approved", decided))
    tell(version, "declined", live)
    return decided


def carry_out(asked: Asked, decided: Decision, live: Live) -> Entry:
    """Make an approved request live, once, also when an earlier try was killed. Raises `Refused` if it is too late."""
    head = live.ledger.head()
    found = state(asked, live)
    if found != "approved":
        raise Refused(_settled(asked, found, decided))
    draft = Draft(
        action="release",
        by=decided.by,
        reason=f"passed the gate; approved: {decided.reason}",
        **asked.model_dump(include={"release", "model_version", "verdict", "run", "commit"}),
    )
    entry = make_live(draft, live.books, live.registry, after=head)
    tell(asked.model_version, "released", live)
    return entry


def tell(version: str, found: State, live: Live) -> None:
    """Show in MLflow what has become of a request; the alias goes, whatever it was."""
    shown = live.registry.shown()
    if version in shown.versions:
        live.registry.tag_version(version, {live.gate.approval_tag: found})
    if shown.aliases.get(WAITING) == version:
        live.registry.set_alias(WAITING, None)


def _open(version: str, live: Live, reason: str) -> Asked:
    if not reason.strip():
        raise BadInput("Whoever approves or rejects gives a reason. Received: an empty one")
    asked = request_for(version, live)
    if asked is None:
        raise BadInput(f"Model version {version} of {live.name} waits for nobody: no night asked for its approval.")
    found = state(asked, live)
    if found not in ("waiting", "approved"):
        raise Refused(_settled(asked, found, live.approvals.decision(asked)))
    return asked


def _settled(asked: Asked, found: State, decided: Decision | None) -> str:
    said = f"Model version {asked.model_version} of {asked.name} {SAID[found]}"
    return f"{said} by {decided.by}: {decided.reason}" if decided and found in ("declined", "approved") else f"{said}."
