"""What is live and what waits, in a few fields for the screen."""

from datetime import UTC, datetime
from typing import Any

from flows.approving import waiting
from flows.live import Live
from lineage.ledger import Entry


def status_of(live: Live) -> dict[str, Any]:
    """The live release and the challenger that waits for a person. Raises `BadInput` when there is neither."""
    asked = waiting(live)
    if asked is None:
        return _released(live.head, live)
    told = {"waits": f"model version {asked.model_version} for `nightreel approve` or `reject`, until {asked.until}"}
    head = live.ledger.head()
    return (_released(head, live) if head else {"recommender": live.name, "live release": None}) | told


def _released(head: Entry, live: Live) -> dict[str, Any]:
    manifest = live.releases.manifest(head.release)
    return {
        "recommender": live.name,
        "live release": head.release,
        "entry": head.seq,
        "action": head.action,
        "since": head.at,
        "by": head.by,
        "reason": head.reason,
        "override": _override(head),
        "signature": live.signature(head.release),
        "candidate": manifest.candidate,
        "data until": manifest.as_of,
        "model version": head.model_version,
        "run": head.run,
        "store": live.settings.store_url,
    }


def _override(live: Entry) -> str | None:
    if live.expires is None:
        return None
    over = live.lapsed(datetime.now(UTC).date())
    return f"passed no gate; {'lapsed on' if over else 'until'} {live.expires}"
