"""Files and folders that survive a crash, and one clear sentence when the disk says no."""

import errno
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from infra.errors import BadInput, NightreelError, Refused

FULL = (errno.ENOSPC, errno.EDQUOT)
LITTLE = 16 << 20  # what a failed write freed again by cleaning up after itself is seldom more


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn an `OSError` inside into one sentence about `where`.

    Raises:
        BadInput: the disk is full, read-only, or lacks what is needed of it.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise BadInput(f"The disk of {where} is full. Free some space there and run again.") from error
        raise BadInput(f"{where} cannot be used: {error.strerror or error}.") from error


@contextmanager
def room_on(folder: Path) -> Iterator[None]:
    """Name a full disk where it is the cause of what fails inside, whoever wrote there: git, DVC, SQLite or a step.

    Raises:
        BadInput: a write inside met a full disk; or something else that failed is told with how little room is left.
    """
    try:
        yield
    except Refused:
        raise
    except (OSError, sqlite3.Error) as error:
        if not is_full(error):
            raise
        raise BadInput(f"The disk of {folder} is full. Free some space there and run again.") from error
    except NightreelError as error:
        if not (hint := little_room(folder)) or "is full" in str(error):
            raise
        raise type(error)(f"{error}{hint}") from error


def require_room(folder: Path) -> None:
    """Raise `BadInput` when the disk of `folder`, which need not exist yet, is all but full."""
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if hint := little_room(above):
        raise BadInput(f"There is no room for {folder}.{hint}")


def little_room(folder: Path) -> str:
    """A sentence to put behind an error when the disk of `folder` is all but full, else nothing."""
    free = shutil.disk_usage(folder).free
    if free >= LITTLE:
        return ""
    return f" Only {free / 2**20:.1f} MB are left on the disk of {folder}: free some space there and run again."


def is_full(error: BaseException) -> bool:
    """Whether `error`, or what it came of, is a write to a full disk; not every library keeps the number."""
    told = str(error)
    if getattr(error, "errno", None) in FULL or "No space left on device" in told or "disk is full" in told:
        return True
    return error.__context__ is not None and is_full(error.__context__)


@contextmanager
def arriving(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` when the block ends well, and vanishes when it does not."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, each on disk before anything is put into it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
