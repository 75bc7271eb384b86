"""A lock between processes of one machine that cannot be orphaned."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import Refused


@contextmanager
def locked(path: Path, *, shared: bool = False, or_refuse: str | None = None) -> Iterator[None]:
    """Hold the lock named by the file `path`, alone or with others who share it, waiting for whoever is in the way.

    The kernel frees the lock when its holder ends, killed or not. The file itself stays: it is empty and means nothing.

    Raises:
        Refused: `or_refuse`, where that is given, instead of waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("ab") as file:
        try:
            fcntl.flock(file, how if or_refuse is None else how | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(or_refuse or "") from None
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """The same for who does not wait: whether the lock is held now, which another may hold instead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock alone now."""
    try:
        with locked(path, shared=True, or_refuse=str(path)):
            return False
    except Refused:
        return True
