"""What people ask for in MLflow: carried out by the ledger's protocol, or put back with the reason beside it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from flows.approving import SAID, approve, carry_out, reject, request_for, request_of, state, tell
from flows.live import Live
from infra.errors import BadInput, Refused
from infra.registry import REFUSED, Shown
from lineage.ledger import Entry, LostRace
from lineage.recorded import trained_release

CHAMPION = "champion"
ASKED_BY = "someone in MLflow"  # which keeps no name with an alias or a tag


@dataclass(frozen=True)
class Finding:
    """One thing that was not as it should be, and what was done about it, in a sentence."""

    what: Literal["promoted", "approved", "rejected", "refused", "finished", "settled", "restored", "lost"]
    version: str
    said: str

    def as_row(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def answer_people(live: Live) -> list[Finding]:
    """Answer every request that is open in MLflow. Finds nothing to do the second time.

    Raises:
        Unreachable: MLflow or the store does not answer; what is open stays so.
        Refused: the ledger does not hold.
    """
    found = []
    for version, tags in live.registry.shown().versions.items():
        word, _, reason = (part.strip() for part in tags.get(live.gate.approval_tag, "").partition(":"))
        if word in ("waiting", "approved", "rejected"):  # the rest are answers
            found += _until_nobody_is_first(lambda: _answer_tag(version, word, reason, live))  # noqa: B023
    return [*found, *_until_nobody_is_first(lambda: _answer_alias(live))]


def _until_nobody_is_first(answer: Callable[[], list[Finding]]) -> list[Finding]:
    """A night or another person may go live between look and entry; then what is asked is judged again."""
    while True:
        try:
            return answer()
        except LostRace:
            continue


def _answer_tag(version: str, word: str, reason: str, live: Live) -> list[Finding]:
    asked = request_for(version, live)
    reason = reason or f"the tag {live.gate.approval_tag} was set to {word} in MLflow"
    if asked is None:
        return [_promoted_by_tag(version, reason, live)] if word == "approved" else []
    found, decided = state(asked, live), live.approvals.decision(asked)
    try:
        if found == "approved" and decided:
            entry = carry_out(asked, decided, live)
            return [Finding("finished", version, f"what {decided.by} approved is live as entry {entry.seq}")]
        if found == "waiting" and word == "approved":
            entry = approve(version, live, by=ASKED_BY, reason=reason)
            return [Finding("approved", version, f"model version {version} is live as entry {entry.seq}: {reason}")]
        if found == "waiting" and word == "rejected":
            reject(version, live, by=ASKED_BY, reason=reason)
            return [Finding("rejected", version, f"model version {version} was rejected: {reason}")]
    except LostRace:
        raise
    except (BadInput, Refused) as error:
        return [_refused(version, str(error), live)]
    if found == "waiting":
        return []
    tell(version, found, live)
    said = f"model version {version} {SAID[found]}"
    return [Finding("settled", version, said) if word == "waiting" else _refused(version, said, live)]


def _promoted_by_tag(version: str, reason: str, live: Live) -> Finding:
    """Promote what never waited, and let the tag say so; what is live has what was asked for."""
    head, release = live.ledger.head(), live.registry.tags_of(version).get("nightreel.release")
    if head and trained_release(head.release, live.books) == release:
        found = Finding("settled", version, f"model version {version} {SAID['released']}")
    else:
        found = _promoted_or_refused(version, reason, live)
    if found.what != "refused":
        tell(version, "released", live)
    return found


def _answer_alias(live: Live) -> list[Finding]:
    shown = live.registry.shown()  # before the ledger: a night writes its entry first and moves the alias then
    head = live.ledger.proven_head()
    alias = shown.aliases.get(CHAMPION)
    if head is None and alias is not None:
        return [_promoted_or_refused(alias, f"the alias {CHAMPION} was set in MLflow", live)]
    if head is None or head.model_version is None:
        return []
    own = shown.standing_for(head.model_version)
    if alias == own and shown.mirrored == (head.seq, head.model_version):
        return []
    if alias in (None, own) or _is_late(alias, shown, head):
        done = live.registry.mirror(CHAMPION, head.model_version, seq=head.seq)
        said = f"{CHAMPION} follows entry {head.seq}"
        return [Finding("finished", own or "", said)] if done and alias != own else []
    return [_promoted_or_refused(alias, f"the alias {CHAMPION} was moved to it in MLflow", live)]


def _is_late(alias: str, shown: Shown, head: Entry) -> bool:
    """Whether the alias is where an earlier entry left it: a night wrote its entry, and nobody asked for anything."""
    seq, version = shown.mirrored
    return seq < head.seq and alias == shown.standing_for(version)


def _promoted_or_refused(version: str, reason: str, live: Live) -> Finding:
    """Make a version live if it may be; else everything is put back as the ledger has it, with the reason."""
    try:
        release = live.registry.tags_of(version).get("nightreel.release")
        if release is None:
            raise Refused(f"Model version {version} is of no night of {live.name}: it names no release.")
        _refuse_withdrawn(release, live)
        asked = request_of(release, live)  # by the bytes, whatever version of MLflow names them
        found = state(asked, live) if asked else "released"
        if asked and found in ("waiting", "approved"):
            entry = approve(asked.model_version, live, by=ASKED_BY, reason=reason)
        elif found == "released":
            entry = live.promote(version, reason=reason, by=ASKED_BY)
        else:
            raise Refused(f"Model version {version} {SAID[found]}.")
    except LostRace:
        raise
    except (BadInput, Refused) as error:
        return _refused(version, str(error), live)
    live.registry.untag_version(version, REFUSED)
    return Finding("promoted", version, f"model version {version} is live as entry {entry.seq}: {reason}")


def _refuse_withdrawn(release: str, live: Live) -> None:
    if entry := live.ledger.withdrawn().get(release):
        raise Refused(
            f"{entry.by} rolled back from it in ledger entry {entry.seq}: {entry.reason}. Only `nightreel promote` "
            "brings it back."
        )


def _refused(version: str, why: str, live: Live) -> Finding:
    head, shown = live.ledger.head(), live.registry.shown()
    live.registry.tag_version(version, {REFUSED: why[:5000]})
    if shown.versions[version].get(live.gate.approval_tag, "").startswith("approved"):
        live.registry.tag_version(version, {live.gate.approval_tag: "refused"})
    if shown.aliases.get(CHAMPION) == version:
        own = head.model_version if head else None
        live.registry.set_alias(CHAMPION, shown.standing_for(own) if own else None)
    return Finding("refused", version, why)
