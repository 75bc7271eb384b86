"""Whether a webhook of MLflow's model registry is what it says: signed, fresh, and not seen before.

MLflow signs as Standard Webhooks does (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.errors import Refused

ID, TIMESTAMP, SIGNATURE = "x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"
FRESH_SECONDS = 300


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the base64 of the HMAC-SHA256 of `delivery.timestamp.body`."""
    signed = b".".join((delivery.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).decode()


@dataclass
class Deliveries:
    """The deliveries that count, under one secret. `seen`: ids that were taken, and when, in Unix seconds."""

    secret: str = field(repr=False)
    seen: dict[str, float] = field(default_factory=dict)

    def check(self, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
        """The delivery's id. Raises `Refused` for one that is forged, stale, or was taken before.

        Args:
            headers: by lower-case name.
            body: as it came, byte by byte.
            now: Unix seconds.
        """
        delivery, timestamp, given = (headers.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
        expected = signature(self.secret, delivery, timestamp, body)
        if not delivery or not hmac.compare_digest(expected.encode(), given.encode()):
            raise Refused("The webhook is not signed with the secret that MLflow was given.")
        if not timestamp.isdecimal() or abs(now - int(timestamp)) > FRESH_SECONDS:
            raise Refused(f"The webhook must be at most {FRESH_SECONDS} s old. Received: {timestamp[:20]!r}")
        if delivery in self.seen:
            raise Refused(f"The webhook {delivery[:40]} was taken before.")
        return delivery

    def take(self, delivery: str, *, now: float) -> None:
        """Remember a delivery for as long as its copy could be fresh."""
        self.seen = {known: at for known, at in self.seen.items() if now - at <= 2 * FRESH_SECONDS}
        self.seen[delivery] = now
