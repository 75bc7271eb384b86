"""How anything goes live: release, promote and rollback are one protocol."""

from collections.abc import Callable, Collection
from pathlib import Path

from infra.errors import BadInput, Refused
from lineage.ledger import Draft, Entry, Ledger
from lineage.releases import Releases


def go_live(
    ledger: Ledger, releases: Releases, draft: Draft, *, after: Entry | None, check: Callable[[Path], None]
) -> Entry:
    """Prove that the draft's release works, then make it live with one ledger entry.

    Args:
        ledger: the recommender's ledger.
        releases: where the release is stored.
        draft: what is to go live, by whom and why.
        after: the newest entry when the decision was made, None when nothing was live.
        check: loads the release from its folder and answers one recommendation; raises `NightreelError` if it cannot.

    Returns:
        The entry, also when an earlier try had already written it.

    Raises:
        Refused: the release is damaged, belongs to another recommender, or fails `check`; or another went live since
            `after` (`LostRace`). Nothing has changed then.
    """
    owner = releases.manifest(draft.release).name
    if owner != ledger.name:
        raise Refused(f"Release {draft.release[:12]} is of the recommender {owner}, not of {ledger.name}.")
    check(releases.open(draft.release))
    return ledger.append(draft, after=after)


def rollback_target(ledger: Ledger, releases: Releases, *, to: int | None, leaving_out: Collection[str] = ()) -> Entry:
    """The entry whose release to go back to: entry `to`, or by default the last one of another release than the live.

    Releases that went live by an override, having passed no gate, and retired ones are not gone back to; nor by default
    those `leaving_out`.

    Raises:
        BadInput: nothing is live, there is no such entry, or it names the release that is live already.
        Refused: entry `to` is an override; or, without `to`, all that could be gone back to were retired.
    """
    live = ledger.head()
    if live is None:
        raise BadInput(f"Nothing of {ledger.name} is live, so there is nothing to roll back.")
    if to is not None:
        target = ledger.get(to)
        if target.release == live.release:
            raise BadInput(f"Entry {to} names the release that is live already. Received: --to {to}")
        if target.action == "override":
            raise Refused(
                f"Entry {to} is an override: its release passed no gate. Bring it back with `nightreel promote "
                f"{target.model_version} --override`, if it must be."
            )
        return target
    ended = None
    for seq in range(live.seq - 1, 0, -1):
        target = ledger.get(seq)
        if target.release in (live.release, *leaving_out) or target.action == "override":
            continue
        gone = releases.retirement(target.release)
        if gone is None:
            return target
        ended = ended or gone
    if ended:
        raise Refused(f"No release of {ledger.name} is left to roll back to. {ended.sentence}")
    raise BadInput(f"No other release of {ledger.name} was ever live, so there is none to roll back to.")
