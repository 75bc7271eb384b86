"""Where a catalogue's `media` value leads: to a regular file inside the source, or nowhere."""

import os
import re
import stat
from pathlib import Path

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def resolve_media(root: Path, media: str) -> Path:
    """The file that `media` names inside `root`, links followed.

    Args:
        root: the source's folder.
        media: a relative path. Whoever writes the catalogue chooses it, so nothing about it is trusted.

    Raises:
        ValueError: `media` is a URL, absolute, leads outside of `root` (also by a link), is missing, or is anything but
            a regular file.
    """
    if not media or "\0" in media or SCHEME.match(media) or Path(media).is_absolute():
        raise ValueError(f"media must be a path inside the source. Received: {media!r}")
    inside = root.resolve()
    try:
        path = (inside / media).resolve(strict=True)
        mode = path.stat().st_mode
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        path, mode = Path(os.path.realpath(inside / media)), None
    if not path.is_relative_to(inside):
        raise ValueError(f"media must be a path inside the source, and this one leads outside. Received: {media!r}")
    if mode is None:
        raise ValueError(f"media must be a file that exists in the source. Received: {media!r}")
    if not stat.S_ISREG(mode):
        raise ValueError(f"media must be a regular file, not a folder, pipe or device. Received: {media!r}")
    return path
