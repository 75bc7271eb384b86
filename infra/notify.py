"""News for people: one JSON document, posted to the address that the operator named. Nothing waits long for it."""

import json
import logging
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any, Literal
from urllib.parse import urlsplit

from infra.settings import Settings

log = logging.getLogger(__name__)

Kind = Literal["verdict", "approval", "blocked", "drift", "failure", "request"]
ANSWER_SECONDS = 5


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """The token is for nobody but the address that was named."""


def notify(settings: Settings, kind: Kind, recommender: str, text: str, facts: Mapping[str, Any]) -> bool:
    """Post `{kind, recommender, at, text, facts}` as JSON; whether it was taken.

    With no `notify_url` nothing is sent. What cannot be delivered is a warning, never an error: no night depends on it.
    """
    if settings.notify_url is None:
        return False
    url = settings.notify_url.get_secret_value()
    news = {"kind": kind, "recommender": recommender, "at": datetime.now(UTC).isoformat(), "text": text}
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError("it must begin with http:// or https://")
        request = urllib.request.Request(url, json.dumps(news | {"facts": facts}, default=str).encode())
        for name, value in headers(settings).items():
            request.add_header(name, value)
        with urllib.request.build_opener(_Stay).open(request, timeout=ANSWER_SECONDS):
            return True
    except (OSError, HTTPException, ValueError) as error:  # the address may be a secret, and stays one
        log.warning("NIGHTREEL_NOTIFY_URL did not take the news of a %s: %s", kind, str(error).replace(url, "it"))
        return False


def headers(settings: Settings) -> dict[str, str]:
    """What is sent along."""
    token = settings.notify_token
    asks = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    return {"Content-Type": "application/json", **asks}
