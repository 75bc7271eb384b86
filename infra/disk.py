"""Files and folders that survive a crash, and one clear sentence when the disk says no."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from infra.errors import BadInput

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn an `OSError` inside into one sentence about `where`.

    Raises:
        BadInput: the disk is full, read-only, or lacks what is needed of it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise BadInput(f"The disk of {where} is full. Free some space there and run again.") from error
        raise BadInput(f"{where} cannot be used: {error.strerror or error}.") from error


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
