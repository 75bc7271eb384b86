"""Hold a recommender's lease for as long as a run works: wait for it, renew it, give it back.

Nobody compares clocks. Who waits sees a state that nobody succeeds for as long as it says, by the own machine's steady
clock. Where the holder's state folder is one's own, the kernel tells at once whether the holder is alive.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.errors import NightreelError, Refused
from infra.locks import locked_if_free
from infra.settings import Settings
from lineage.lease import Lease, Leases, LostLease

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
RENEWALS = 3  # in the time that a lease runs


class Busy(Refused):
    """Another run holds the lease, and this one does not wait for it."""


class Held:
    """A lease that this process holds, renewed by a thread of its own."""

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self.token = lease.token
        self._leases = leases
        self._lease = lease
        self._lost: LostLease | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `LostLease` once it is known that another has taken over."""
        if self._lost:
            raise self._lost

    def give_back(self) -> bool:
        """Let the next one begin; False when the store does not answer, which is let know by the lease's end."""
        self._done.set()
        self._thread.join()
        try:
            self._leases.end(self._lease)
        except NightreelError as error:
            log.warning("the lease of %s was not given back: %s", self._leases.name, error)
            return isinstance(error, LostLease)
        return True

    def _keep(self) -> None:
        while not self._done.wait(self._lease.seconds / RENEWALS):
            try:
                self._lease = self._leases.renew(self._lease)
            except LostLease as lost:
                self._lost = lost
                return
            except NightreelError as error:
                log.warning("the lease of %s could not be renewed: %s", self._leases.name, error)


@contextmanager
def holding(
    leases: Leases,
    work: str,
    settings: Settings,
    *,
    above: int,
    told: Callable[[str], None],
    waits_for: Callable[[Lease], bool],
) -> Iterator[Held]:
    """Hold the lease until the block ends.

    Args:
        leases: of the recommender.
        work: what for, in words.
        settings: who holds it, where state is kept and how long a lease runs.
        above: the newest token that the ledger knows of.
        told: is given a sentence when this has to wait.
        waits_for: whether to wait for whom the lease is with.

    Raises:
        Busy: it is with somebody who is not waited for, and who lives: on this machine, or heard of while this looks.
    """
    folder, lock = settings.home_dir / "leases" / leases.name, f"{uuid.uuid4().hex}.lock"
    holder = f"{settings.who} on {socket.gethostname()} (process {os.getpid()})"
    with locked_if_free(folder / lock):
        over = True
        try:
            lease = None
            while lease is None:
                before = _ended(leases, folder, told=told, waits_for=waits_for)
                lease = leases.claim(
                    before, holder=holder, lock=lock, work=work, seconds=settings.lease_seconds, above=above
                )
            _sweep(folder)
            held = Held(leases, lease)
            try:
                yield held
            finally:
                over = held.give_back()
        finally:
            if over:  # else the free lock stays, by which this machine knows at once that nobody holds the lease
                (folder / lock).unlink(missing_ok=True)


def is_at_work(leases: Leases, settings: Settings) -> bool:
    """Whether somebody holds the lease and is not known here to be dead."""
    newest = leases.newest()
    return newest is not None and newest.held and not _is_dead(settings.home_dir / "leases" / leases.name / newest.lock)


def _ended(
    leases: Leases, folder: Path, *, told: Callable[[str], None], waits_for: Callable[[Lease], bool]
) -> Lease | None:
    """Wait until nobody holds the lease; the newest state then."""
    seen: Lease | None = None
    since = 0.0
    while True:
        asked = time.monotonic()  # before the question: this process may be stopped between that and the answer
        newest = leases.newest()
        if newest is None or not newest.held or _is_dead(folder / newest.lock):
            return newest
        if newest != seen:
            heard = seen is not None and newest.token == seen.token
            if (heard or (folder / newest.lock).exists()) and not waits_for(newest):
                raise Busy(f"The lease of {leases.name} is with {newest.described()}.")
            if not heard:
                told(f"waiting for the lease of {leases.name}, which is with {newest.described()}")
            seen, since = newest, time.monotonic()
        if asked - since > newest.seconds:
            told(f"nothing was heard of {newest.holder} for {newest.seconds:g} s: taking its lease over")
            return newest
        time.sleep(min(POLL_SECONDS, newest.seconds / 10))


def _is_dead(lock: Path) -> bool:
    """Whether the holder's lock is on this machine, and free."""
    if not lock.exists():
        return False
    with locked_if_free(lock) as free:
        return free


def _sweep(folder: Path) -> None:
    """Remove the locks of those who died."""
    for lock in folder.glob("*.lock"):
        if _is_dead(lock):
            with suppress(FileNotFoundError):
                lock.unlink()
