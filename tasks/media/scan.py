"""The first look at a stream of pictures, and the way back to some of them: nothing is kept but small histograms."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tasks.media.opened import Opened
from tasks.media.pictures import thumbnail
from tasks.media.shots import colour_histogram

RATE = 4  # samples a second, at most
SKIMMED = 4  # pictures for each sample from which on some may be left out
NEARLY = 1e-6  # seconds: one time base, twice divided


@dataclass
class Scan:
    """What the first look found.

    Attributes:
        times: `[samples]` seconds of the sampled pictures after the first one.
        histograms: `[samples, 512]`.
        keys: times of pictures that decoding can start from, ascending.
        end: when the last picture ends.
        whole: whether the stream was looked at up to its end, rather than up to `max_seconds`.
    """

    times: list[float] = field(default_factory=list)
    histograms: list[NDArray[np.float32]] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)
    end: float = 0.0
    whole: bool = True


class Clock:
    """Seconds of a picture after the stream's first: by its timestamp, or by counting where there is none."""

    def __init__(self, stream: Any) -> None:
        self._every = float(1 / stream.average_rate) if stream.average_rate else 1 / 25
        self._zero: float | None = None
        self._counted = 0
        self.counts = False

    def __call__(self, frame: Any) -> float:
        """The time of `frame`, the next of the stream."""
        self._counted += 1
        if frame.pts is None:
            self.counts = True
            return (self._counted - 1) * self._every
        if self._zero is None:
            self._zero = frame.time
        return float(frame.time - self._zero)

    def restart(self) -> None:
        """Count from the first picture again; its timestamp stays known."""
        self._counted = 0

    def length(self, frame: Any) -> float:
        """How long `frame` is shown, as far as the file says."""
        return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else self._every

    def timestamp(self, seconds: float, stream: Any) -> int:
        """The stream's own timestamp of a picture at `seconds`."""
        return round((seconds + (self._zero or 0.0)) / float(stream.time_base))


def skim(source: Opened) -> None:
    """Leave out pictures that no other one refers to, where enough are left: half the work for the same result."""
    if source.picture.average_rate and source.picture.average_rate >= SKIMMED * RATE:
        source.picture.codec_context.skip_frame = "NONREF"


def scan(source: Opened, clock: Clock, *, max_seconds: float) -> Scan:
    """Look at every picture's time, and at the colours of at most four a second."""
    found, slot = Scan(), -1
    for frame in source.decoded(source.picture):
        time = clock(frame)
        if time > max_seconds:
            found.whole = False
            break
        found.end = max(found.end, time + clock.length(frame))
        if frame.key_frame and not clock.counts:
            found.keys.append(time)
        if int(time * RATE + NEARLY) > slot:
            slot = int(time * RATE + NEARLY)
            found.times.append(time)
            found.histograms.append(colour_histogram(thumbnail(frame)))
    return found


def revisit(source: Opened, clock: Clock, wanted: Sequence[float], keys: Sequence[float]) -> Iterator[Any]:
    """The pictures at the times `wanted`, which are times of a scan, ascending: `[wanted]`, one at a time.

    Args:
        source: freshly opened.
        clock: of the scan, which knows the first picture's timestamp.
        wanted: times.
        keys: where decoding may start anew, to skip what lies between; empty: everything is decoded.

    Raises:
        LookupError: the container led elsewhere than asked. Without `keys` that cannot happen.
    """
    clock.restart()
    frames, frame, now = source.decoded(source.picture), None, -1.0
    for time in wanted:
        key = keys[bisect_right(keys, time + NEARLY) - 1] if keys and keys[0] <= time else -1.0
        if key > now + NEARLY and key > 0:
            frames = _from(source, clock.timestamp(key, source.picture))
        while now < time - NEARLY:
            frame = next(frames, None)
            if frame is None:
                raise LookupError(time)
            now = clock(frame)
        if now > time + NEARLY:
            raise LookupError(time)
        yield frame


def _from(source: Opened, timestamp: int) -> Iterator[Any]:
    try:
        source.container.seek(timestamp, stream=source.picture)
    except av.FFmpegError as error:
        raise LookupError(timestamp) from error
    return source.decoded(source.picture)
