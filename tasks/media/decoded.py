"""A video file taken apart: what later steps look at and listen to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
SIDE = 224


@dataclass(frozen=True)
class Decoded:
    """What one video file holds.

    Attributes:
        frames: `[n, 224, 224, 3]` uint8 RGB, sampled over the shots in order of time; n may be 0.
        times: `[n]` float64, seconds from the start.
        shots: `[n]` int32, which shot each frame is of, from 0, ascending.
        stills: for each shot its most representative frame in the video's own shape, `[height, width, 3]` uint8 RGB,
            at most 720 pixels on the longer side, turned upright.
        still_times: `[shots]` float64 seconds.
        seconds: the video's duration.
        sound: `[samples]` float32 in -1..1, mono, at 16 kHz; None where there is no sound.
        faults: reason by what could not be decoded, `frames` or `sound`; a sound file has a fault for `frames`, a
            silent video has none.
    """

    frames: NDArray[np.uint8]
    times: NDArray[np.float64]
    shots: NDArray[np.int32]
    stills: tuple[NDArray[np.uint8], ...]
    still_times: NDArray[np.float64]
    seconds: float
    sound: NDArray[np.float32] | None
    faults: Mapping[str, str]
