"""A night that takes too long is stopped where it is, as by a kill that says why: what it finished is found again."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from infra.errors import Refused

POLL_SECONDS = 0.2


class Overrun(Refused):
    """A night took longer than it may."""


class Limit:
    """How long the block may take that `limited` runs."""

    def __init__(self, hours: float | None) -> None:
        self._hours = hours
        self._over = threading.Event()

    def check(self) -> None:
        """Raise `Overrun` when the time is over."""
        if self._over.is_set():
            raise Overrun(
                f"The night ran for longer than its limit of {self._hours:g} hours and was stopped. What it finished "
                "is kept, and the next one goes on from there; --limit-hours of `nightreel schedule` sets the limit."
            )

    @contextmanager
    def limited(self, folder: Path) -> Iterator[None]:
        """Interrupt the block, which runs in the main thread, when the time is over, and end its steps.

        Prefect's own `timeout_seconds` waits for the processes that tasks in threads have started. Here they are
        ended: every process below this one that stands in `folder`.

        Raises:
            Overrun: the block took longer.
        """
        if self._hours is None:
            yield
            return
        done = threading.Event()
        before = signal.signal(signal.SIGUSR1, lambda *_: None if done.is_set() else self.check())
        watch = threading.Thread(target=self._watch, args=(done, folder), daemon=True)
        watch.start()
        try:
            try:
                yield
            finally:
                done.set()
        finally:
            done.set()  # the interrupt, which comes once, may have come between the two
            watch.join()
            signal.signal(signal.SIGUSR1, before)

    def _watch(self, done: threading.Event, folder: Path) -> None:
        if done.wait((self._hours or 0) * 3600):
            return
        self._over.set()
        os.kill(os.getpid(), signal.SIGUSR1)
        _end_steps(folder)
        while not done.wait(POLL_SECONDS):
            _end_steps(folder)


def _end_steps(folder: Path) -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()
