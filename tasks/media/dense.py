"""One open media file's pictures at an even rate, written as they come."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.media.limits import Limits, Undecodable
from tasks.media.opened import opened, too_large
from tasks.media.pictures import pixel_aspect, square
from tasks.media.scan import NEARLY, Clock

DENSE = 4096  # frames, at most: 617 MB


def dense(descriptor: int, *, fps: float, limits: Limits, folder: Path) -> dict[str, Any]:
    """Write the squares on show at 0, 1 / `fps`, 2 / `fps`... seconds to `frames.raw`, `[n, 224, 224, 3]` bytes.

    A picture that is shown for longer is written as often. Nothing is kept in memory.

    Raises:
        Undecodable: there is no picture that can be decoded.
    """
    written = 0
    with opened(descriptor, limits=limits) as source, (folder / "frames.raw").open("wb") as file:
        if source.picture is None:
            raise Undecodable("it holds no pictures")
        aspect, clock = pixel_aspect(source.picture), Clock(source.picture)
        most = min(DENSE, int(limits.max_seconds * fps) + 1)
        shown, end = b"", 0.0
        for frame in source.decoded(source.picture):
            time = clock(frame)
            due = min(int(np.ceil(time * fps - NEARLY)), most)  # moments before this picture
            file.write(shown * max(due - written, 0))
            written = max(due, written)
            if written == most:
                break
            end = time + clock.length(frame)
            shown = square(frame, aspect=aspect).tobytes()
        due = min(max(int(np.ceil(end * fps - NEARLY)), written), most) if shown else 0
        file.write(shown * (due - written))
        if not due:
            raise Undecodable(too_large(source.trouble.reason, limits) or source.trouble.sentence())
    return {"n": due}
