"""What a stack has to know of one of its services."""

import base64
import json
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError

ANSWER_SECONDS = 5
PYTHON = (sys.executable, "-P")  # nothing is imported from the stack's folder, in which these processes stand


@dataclass(frozen=True)
class Service:
    """One process that runs for as long as the stack is up.

    Attributes:
        name: what it is called on screen, in its log's name and in its folder's.
        where: what a person or a program connects to.
        command: program and words; no secret is among them, since everybody may read them.
        ready: whether it answers, credentials and all, and has what the other services need of it.
        environment: what it is told beside the few variables that every process needs.
        inherits: whether it also gets the environment of `nightreel up`.
        after: names of the services that must be ready first.
        prepare: makes what it starts from.
        stop_signal: what ends it cleanly.
    """

    name: str
    where: str
    command: Sequence[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    inherits: bool = False
    after: tuple[str, ...] = ()
    prepare: Callable[[], None] = lambda: None
    stop_signal: str = "TERM"


def asked(url: str, auth: str | None, content: object = None) -> bytes | None:
    """What a GET of `url`, or a POST of `content`, is answered with; None unless it answers 200 or 201.

    Args:
        url: whom to ask.
        auth: `user:password`, if it asks for that.
        content: what to send, as JSON.
    """
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    if auth is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return bytes(answer.read()) if answer.status in (200, 201) else None
    except HTTPError as error:
        error.close()
        return None
    except (OSError, HTTPException):  # refused, or broken off
        return None
