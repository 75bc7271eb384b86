"""The sound of a file, as every encoder of sound wants it."""

from itertools import chain

import av
import numpy as np
from numpy.typing import NDArray

from tasks.media.decoded import RATE
from tasks.media.opened import Opened


def sound_of(source: Opened, *, max_seconds: float) -> NDArray[np.float32]:
    """Mono sound at 16 kHz, `[samples]` float32 in -1..1, up to `max_seconds`."""
    resampler = av.AudioResampler(format="fltp", rate=RATE)
    most, got, parts = int(max_seconds * RATE), 0, []
    for frame in chain(source.decoded(source.sound), [None]):
        for part in _resampled(source, resampler, frame):
            parts.append(part)
            got += len(part)
        if got >= most:
            break
    samples = np.concatenate(parts)[:most] if parts else np.zeros(0, np.float32)
    return np.clip(np.nan_to_num(samples), -1, 1)


def _resampled(source: Opened, resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[NDArray[np.float32]]:
    if frame is not None:
        frame.pts = None  # a gap in the timestamps is not filled
    try:
        # the mean of the channels: FFmpeg's own mix to mono is louder than either and would be cut off
        return [np.asarray(part.to_ndarray().mean(axis=0), np.float32) for part in resampler.resample(frame) if part]
    except (av.FFmpegError, ValueError) as error:  # ValueError: rate or channels change in the middle
        source.trouble.note(error)
        return []
