"""Colour, texture, motion and spectrum of a video's frames: a small vector that no network had to learn.

| part | values | what |
| --- | --- | --- |
| time domain: colour | 12 | hue histogram, each pixel weighted by its chroma; zeros where all is grey |
| | 4, 8 | histograms of saturation and value (HSV) |
| | 6 | mean, standard deviation and skewness of value, then of saturation |
| texture | 10 | rotation-invariant uniform local binary patterns of 8 neighbours (Ojala et al., 2002) |
| | 8, 1 | gradient orientations weighted by magnitude, and the mean magnitude |
| motion | 3 | mean, standard deviation and maximum over neighbouring frames of the mean absolute difference of luma |
| | 1 | share of pixels whose luma changes by more than 1/8 from one frame to the next |
| frequency domain | 16 | radially averaged power spectrum of luma (Hann window, mean taken out), log scale |
| | 1 | its slope: natural pictures fall off with about the square of the frequency |

All but motion is averaged over frames. Scales are fixed, not learned, so that a vector never depends on the catalogue:
histograms sum to 1; levels, deviations and differences are shares of full scale; skewness is divided by 4 and cut at
-1..1; spectrum is log10(1 + power) / 8 with luma in 0..255; the slope is divided by 4. All lie in -1..1.
"""

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

VERSION = "low-level 1"
HUES, SATURATIONS, VALUES = 12, 4, 8
ORIENTATIONS, RINGS = 8, 16
LUMA = (77, 150, 29)  # of 256: ITU-R BT.601 in whole numbers, so that adding brightness changes no comparison
MOVED = 32  # of 255
SKEW_SCALE, SPECTRUM_SCALE, SLOPE_SCALE = 4.0, 8.0, 4.0
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))

Frame = NDArray[np.uint8]
Vector = NDArray[np.float64]


class LowLevel:
    """The encoder of low-level features; it has no weights, hence the project's own licence."""

    dim = HUES + SATURATIONS + VALUES + 6 + 10 + ORIENTATIONS + 1 + 4 + RINGS + 1
    licence = "Apache-2.0"
    digest = sha256(
        repr((VERSION, HUES, SATURATIONS, VALUES, ORIENTATIONS, RINGS, LUMA, MOVED, SKEW_SCALE, SPECTRUM_SCALE,
              SLOPE_SCALE)).encode()
    ).hexdigest()  # fmt: skip

    def encode(self, batch: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Vectors `[videos, dim]` of the frames `[n, height, width, 3]` uint8 RGB of each video.

        Raises:
            ValueError: a video has no frame, or its frames are of another shape or type.
        """
        vectors = [low_level_features(frames) for frames in batch]
        return np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, self.dim), np.float32)


def low_level_features(frames: NDArray[np.uint8]) -> Vector:
    """The vector of one video, `[dim]`; what stands where is said at the top of this module."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"frames must be [n, height, width, 3] uint8. Received: {list(frames.shape)} {frames.dtype}")
    stills = []
    lumas = []
    for frame in frames:
        luma = frame.astype(np.int32) @ np.array(LUMA, np.int32)
        lumas.append(luma)
        stills.append(np.concatenate([_colour(frame), _patterns(luma), _gradients(luma / 256)]))
    spectra = np.mean([_spectrum(luma / 256) for luma in lumas], axis=0)
    return np.concatenate([np.mean(stills, axis=0), _motion(lumas), spectra])


def _colour(frame: Frame) -> Vector:
    red, green, blue = (frame[..., channel].astype(np.float64).ravel() / 255 for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    saturation = np.divide(chroma, value, out=np.zeros_like(value), where=value > 0)
    hues = np.bincount(_hue_bins(red, green, blue, value, chroma), weights=chroma, minlength=HUES)
    total = hues.sum()
    return np.concatenate([
        hues / total if total > 0 else hues,
        _histogram(saturation, SATURATIONS),
        _histogram(value, VALUES),
        _moments(value),
        _moments(saturation),
    ])  # fmt: skip


def _hue_bins(red: Vector, green: Vector, blue: Vector, value: Vector, chroma: Vector) -> NDArray[np.int64]:
    """Which twelfth of the colour circle each pixel is in, the first one around red."""
    safe = np.where(chroma > 0, chroma, 1)
    sixths = np.select(
        [value == red, value == green], [(green - blue) / safe, 2 + (blue - red) / safe], 4 + (red - green) / safe
    )
    return np.asarray(np.floor(sixths / 6 * HUES + 0.5), np.int64) % HUES


def _histogram(values: Vector, bins: int) -> Vector:
    """Shares of `values` in 0..1 by equal bins."""
    return np.bincount(np.minimum((values * bins).astype(np.int64), bins - 1), minlength=bins) / len(values)


def _moments(values: Vector) -> Vector:
    mean, deviation = values.mean(), values.std()
    skewness = np.mean((values - mean) ** 3) / deviation**3 if deviation > 1e-9 else 0.0
    return np.array([mean, deviation, np.clip(skewness / SKEW_SCALE, -1, 1)])


def _patterns(luma: NDArray[np.int32]) -> Vector:
    """Shares of the ten patterns: 0 to 8 brighter neighbours in one run, or more than one run."""
    height, width = luma.shape
    centre = luma[1:-1, 1:-1]
    bits = np.stack([luma[1 + y : height - 1 + y, 1 + x : width - 1 + x] >= centre for y, x in NEIGHBOURS])
    changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
    patterns = np.where(changes <= 2, bits.sum(axis=0), 9)
    return np.bincount(patterns.ravel(), minlength=10) / patterns.size


def _gradients(luma: Vector) -> Vector:
    down = (luma[2:, 1:-1] - luma[:-2, 1:-1]) / 2
    right = (luma[1:-1, 2:] - luma[1:-1, :-2]) / 2
    magnitude = np.hypot(down, right)
    turns = np.arctan2(down, right) / np.pi * ORIENTATIONS  # a line has no direction: modulo half a turn
    bins = np.floor(turns + 0.5).astype(np.int64) % ORIENTATIONS
    weights = np.bincount(bins.ravel(), weights=magnitude.ravel(), minlength=ORIENTATIONS)
    total = weights.sum()
    return np.append(weights / total if total > 0 else weights, magnitude.mean() / 255)


def _motion(lumas: Sequence[NDArray[np.int32]]) -> Vector:
    if len(lumas) < 2:
        return np.zeros(4)
    differences = [np.abs(after - before) for before, after in pairwise(lumas)]
    means = np.array([difference.mean() for difference in differences]) / (256 * 255)
    moved = np.mean([(difference > MOVED * 256).mean() for difference in differences])
    return np.array([means.mean(), means.std(), means.max(), moved])


def _spectrum(luma: Vector) -> Vector:
    """Power by distance from the centre of the frequency plane, up to Nyquist along an axis, and the slope."""
    height, width = luma.shape
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2 / (height * width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    rings = np.minimum(np.floor(radius * 2 * RINGS).astype(np.int64), RINGS)
    sums = np.bincount(rings.ravel(), weights=power.ravel(), minlength=RINGS + 1)[:RINGS]
    levels = np.log10(1 + sums / np.maximum(np.bincount(rings.ravel(), minlength=RINGS + 1)[:RINGS], 1))
    octaves = np.log10(np.arange(RINGS) + 0.5)
    slope = np.polyfit(octaves, levels, 1)[0] if levels.any() else 0.0
    return np.append(np.clip(levels / SPECTRUM_SCALE, 0, 1), np.clip(slope / SLOPE_SCALE, -1, 1))
