"""A secret in a file of its own, made once and readable by its owner alone."""

import os
import uuid
from pathlib import Path

from infra.disk import disk_errors, make_folder


def make_secret(path: Path, content: bytes) -> None:
    """Write `content` to `path` unless it exists. Of two that race, one wins: the link is made once.

    Raises:
        BadInput: the disk is full or refuses.
    """
    with disk_errors(path):
        make_folder(path.parent)
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(partial)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
