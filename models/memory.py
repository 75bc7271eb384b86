"""How much memory there is to take, asked before something large is begun."""

from pathlib import Path

import psutil

CONTAINER = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """What this process may still take: of the machine's memory, and of its container's where that is limited."""
    return int(min([psutil.virtual_memory().available, *_left_to_the_container()]))


def _left_to_the_container() -> list[int]:
    """By control groups (version 2), file pages that the kernel drops first not counted; nothing without a limit."""
    try:
        limit = int((CONTAINER / "memory.max").read_text(encoding="ascii"))
        used = int((CONTAINER / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):  # no such files, or the limit reads `max`
        return []
    return [limit - used + int(stat.get("inactive_file", 0))]
