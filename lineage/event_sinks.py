"""Where OpenLineage events go: to a file, or to an HTTP endpoint with the file behind it. A night waits for neither."""

import logging
import threading
from collections import deque
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from openlineage.client.event_v2 import RunEvent
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport
from pydantic import SecretStr
from requests import HTTPError, Timeout

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

ANSWER_SECONDS = 1.0
CLOSE_SECONDS = 1.5
DEFAULT_PATH = "api/v1/lineage"


class Sink(Protocol):
    """What takes events, from any thread, and never raises because it cannot deliver them."""

    def emit(self, event: RunEvent) -> None:
        """Take one event."""

    def close(self) -> None:
        """The last event has been taken."""


class EventFile:
    """One JSON event a line, behind what earlier nights wrote. One that cannot be written is told once, then let go."""

    def __init__(self, path: Path, logger: Logger) -> None:
        self._path = path
        self._logger = logger
        self._told = False

    def emit(self, event: RunEvent) -> None:
        """See `Sink.emit`."""
        line = f"{Serde.to_json(event)}\n".encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                file.write(line)  # in one call, so that lines of nights at once do not mix
        except OSError as error:
            if not self._told:
                self._told = True
                self._logger.warning("OpenLineage events cannot be written to %s: %s", self._path, error.strerror)

    def close(self) -> None:
        """See `Sink.close`."""


class Endpoint:
    """An HTTP endpoint that takes events one by one, oldest first, while the night goes on.

    After its first failure it is not tried again: one warning, and what it did not take goes to `file`.

    Args:
        url: address of the server, which takes events at `api/v1/lineage`; or the whole address where it has a path.
        api_key: sent as a bearer token.
        file: gets the events that the endpoint did not take.
        logger: gets the warning.
    """

    def __init__(self, url: str, api_key: SecretStr | None, *, file: EventFile, logger: Logger) -> None:
        self._url = url
        self._api_key = api_key
        self._file = file
        self._logger = logger
        self._waiting: deque[RunEvent] = deque()
        self._changed = threading.Condition()
        self._closed = self._down = False
        self._worker = threading.Thread(target=self._work, name="openlineage", daemon=True)
        self._worker.start()

    def emit(self, event: RunEvent) -> None:
        """See `Sink.emit`."""
        with self._changed:
            if not self._down:
                self._waiting.append(event)
                self._changed.notify()
                return
        self._file.emit(event)

    def close(self) -> None:
        """See `Sink.close`. Waits for `CLOSE_SECONDS` at most."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join(CLOSE_SECONDS)
        if self._worker.is_alive():
            self._give_up(f"had not taken every event {CLOSE_SECONDS:g} s after the night")

    def _work(self) -> None:
        try:
            transport = self._transport()
            while event := self._next():
                transport.emit(event)
                self._delivered()
        except HTTPError as error:
            self._give_up(f"answered {error.response.status_code if error.response is not None else error}")
        except Timeout:
            self._give_up(f"did not answer within {ANSWER_SECONDS:g} s")
        except (OSError, ValueError) as error:
            self._give_up(f"could not be reached ({type(error).__name__})")

    def _transport(self) -> HttpTransport:
        # a path of its own leaves nothing to be joined to it
        path = "" if urlsplit(self._url).path.strip("/") else DEFAULT_PATH
        key = {"auth": {"type": "api_key", "apiKey": self._api_key.get_secret_value()}} if self._api_key else {}
        once = {"total": 0, "read": False, "status_forcelist": []}
        config = {"url": self._url, "endpoint": path, "timeout": ANSWER_SECONDS, "retry": once, **key}
        return HttpTransport(HttpConfig.from_dict(config))

    def _next(self) -> RunEvent | None:
        """The oldest event that waits, as soon as there is one; None when there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting[0] if self._waiting else None

    def _delivered(self) -> None:
        with self._changed:
            if self._waiting:  # else it has gone to the file as well, because this took too long
                self._waiting.popleft()

    def _give_up(self, why: str) -> None:
        with self._changed:
            if self._down:
                return
            self._down = True
            left, self._waiting = self._waiting, deque()
            for event in left:
                self._file.emit(event)
        self._logger.warning("The OpenLineage endpoint at %s %s: tonight's events go to a file", self._shown, why)

    @property
    def _shown(self) -> str:
        """The address without what a password or a key may be in."""
        return self._url.partition("?")[0].rpartition("@")[2]
