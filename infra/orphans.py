"""A step's process ends with the process that started the run, so that a killed night leaves nothing at work.

DVC starts steps through a shell, so the kernel's parent-death signal would watch the wrong process. The step instead
watches the run's process by its id, and shares a lock with the run's other steps for as long as it lives, which the
next start of the run awaits.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from infra.locks import locked

OWNER = "NIGHTREEL_OWNER"
POLL_SECONDS = 0.1


@contextmanager
def tied_to_owner() -> Iterator[None]:
    """Share the run's step lock and end this process when the run's process is gone. By hand there is no run."""
    owner = os.environ.get(OWNER)
    if owner is None:
        yield
        return
    pid, _, lock = owner.partition(":")
    with ending_unless(lambda: _alive(int(pid))), locked(Path(lock), shared=True):
        if not _alive(int(pid)):  # killed while this process was starting, so the next start of the run may be at work
            os._exit(1)
        yield


@contextmanager
def ending_unless(wanted: Callable[[], bool]) -> Iterator[None]:
    """End this process at once, and with it its own steps, when it is not `wanted` any more while the block runs."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            if not wanted():
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def owner_variable(step_lock: Path) -> dict[str, str]:
    """The environment variable that ties the steps that this process starts to it."""
    return {OWNER: f"{os.getpid()}:{step_lock}"}


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
