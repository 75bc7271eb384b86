"""A TCP proxy that cuts a service off for a while, from the first request on that holds certain bytes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["refuse", "stall", "truncate", "503"]
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
CHUNK = 1 << 16
SHORT = 20  # bytes of an answer that is cut


class FaultProxy:
    """Passes bytes on, but for `seconds` after `trigger` was first sent to the service it does the `fault`.

    `refuse` closes every connection, `stall` takes requests and says nothing, `truncate` passes requests on and of each
    answer only the beginning back, `503` answers so itself.
    """

    def __init__(self, upstream: str, fault: Fault, *, trigger: bytes, seconds: float) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._fault, self._trigger, self._seconds = fault, trigger, seconds
        self._until: float | None = None
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def triggered(self) -> bool:
        """Whether the service was cut off."""
        return self._until is not None

    def close(self) -> None:
        """Take no further connections."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)  # ends the wait for the next one
        self._door.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._upstream) as service:
            threading.Thread(target=self._answers, args=(service, client), daemon=True).start()
            while data := client.recv(CHUNK):
                if self._until is None and self._trigger in data:
                    self._until = time.monotonic() + self._seconds
                if self._cut() and self._fault != "truncate":
                    self._withhold(client)
                    break
                service.sendall(data)

    def _answers(self, service: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := service.recv(CHUNK):
                if self._cut() and self._fault == "truncate":
                    client.sendall(data[:SHORT])
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def _withhold(self, client: socket.socket) -> None:
        if self._fault == "stall":
            time.sleep(max(0.0, (self._until or 0) - time.monotonic()))
        elif self._fault == "503":
            client.sendall(UNAVAILABLE)

    def _cut(self) -> bool:
        return self._until is not None and time.monotonic() < self._until


@contextmanager
def cut_off(upstream: str, fault: Fault, *, trigger: bytes, seconds: float) -> Iterator[FaultProxy]:
    """A `FaultProxy` before the service at the URL `upstream`."""
    proxy = FaultProxy(upstream, fault, trigger=trigger, seconds=seconds)
    try:
        yield proxy
    finally:
        proxy.close()
