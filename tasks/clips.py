"""Clips as learners on video take them: frame features at an even rate, of the frames and of crops, and the sound.

One `.npz` without pickles a video. Equal video, encoder and parameters give equal bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadInput
from models.encoders.log_mel import HOP, RATE, log_mel
from tasks.media.decode import Limits, Undecodable, decode, dense_frames

Features = NDArray[np.float32]
Frames = NDArray[np.uint8]

# A crop keeps at least this share of each side: smaller ones may hold nothing of what the clip is about.
SMALLEST = 0.5


@dataclass(frozen=True)
class Clip:
    """A video as learners take it.

    Attributes:
        features: `[n, dim]` of frames at an even rate.
        times: `[n]` seconds, ascending.
        views: `[views, n, dim]` of the same frames, cropped and half of them mirrored; there may be none.
        sound: `[n, bands]` log-mel around each frame; None where there is none.
    """

    features: Features
    times: NDArray[np.float64]
    views: Features
    sound: Features | None = None

    def __post_init__(self) -> None:
        n = len(self.times)
        shapes = (self.features.shape[:1], self.views.shape[1:2], (n,) if self.sound is None else self.sound.shape[:1])
        if set(shapes) != {(n,)} or self.views.shape[2:] != self.features.shape[1:]:
            raise ValueError(f"Features, views and sound must be of {n} frames. Received: {shapes}")

    def part(self, start: int, stop: int) -> "Clip":
        """Frames `start` to `stop`."""
        sound = None if self.sound is None else self.sound[start:stop]
        return Clip(self.features[start:stop], self.times[start:stop], self.views[:, start:stop], sound)

    def save(self, path: Path) -> None:
        """Write one `.npz`, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"features": self.features, "times": self.times, "views": self.views}
        if self.sound is not None:
            arrays["sound"] = self.sound
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Clip":
        """Read what `save` wrote; a file with `features` and `times` alone is a clip without views.

        Raises:
            BadInput: the file is none, or holds a pickle.
        """
        try:
            with np.load(path, allow_pickle=False) as kept:
                features = kept["features"]
                views = kept["views"] if "views" in kept else np.zeros((0, *features.shape), np.float32)
                return cls(features, kept["times"], views, kept.get("sound"))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise BadInput(f"{path} must hold features and times as arrays. Received: {error}") from error


def load_clips(folder: Path) -> dict[str, Clip]:
    """The clips in `folder`, by file name, in its order. Raises `BadInput` when one cannot be read."""
    return {path.stem: Clip.load(path) for path in sorted(folder.glob("*.npz"))}


def make_clip(
    path: Path, *, encode: Callable[[Frames], Features], fps: float, views: int, seed: int, limits: Limits
) -> Clip:
    """Decode and encode one video.

    Args:
        path: of the video.
        encode: frames `[n, 224, 224, 3]` to `[n, dim]`.
        fps: frames a second.
        views: crops of each frame that are encoded too.
        seed: of the crops, which are the same for all frames of all clips.
        limits: of decoding.

    Raises:
        Undecodable: the file has no frames.
    """
    frames, times = dense_frames(path, fps=fps, limits=limits)
    features = encode(frames)
    cropped = [encode(crop(frames, view=view, seed=seed)) for view in range(views)]
    sound = decode(path, limits=limits).sound
    return Clip(
        features,
        times,
        np.stack(cropped) if cropped else np.zeros((0, *features.shape), np.float32),
        None if sound is None else sound_of_frames(sound, times),
    )


def few_pictures(path: Path, *, n: int, limits: Limits) -> Frames:
    """`[n, 224, 224, 3]` uint8 RGB of one video, spread over its shots; of fewer frames some come more than once.

    Raises:
        Undecodable: the file has no frames.
    """
    frames = decode(path, limits=replace(limits, frames_per_video=n)).frames
    if not len(frames):
        raise Undecodable(f"{path.name} has no frames.")
    spread: Frames = frames[np.linspace(0, len(frames) - 1, n).round().astype(int)]
    return spread


def crop(frames: Frames, *, view: int, seed: int) -> Frames:
    """`frames` `[n, height, width, 3]` cut to a box that `seed` and `view` decide, brought back to their size; odd
    views are mirrored.

    The box keeps the frame's proportions. Pixels are repeated: a box is never larger than the frame.
    """
    rng = np.random.default_rng([seed, view])
    share = rng.uniform(SMALLEST, 0.9)
    rows, columns = (_picked(side, share, rng.random()) for side in frames.shape[1:3])
    boxed = frames[:, rows][:, :, columns[::-1] if view % 2 else columns]
    return np.ascontiguousarray(boxed)


def _picked(side: int, share: float, where: float) -> NDArray[np.int64]:
    """`[side]`: which rows a box of `share` of the side shows, `where` (0..1) along it."""
    kept = max(int(side * share), 1)
    return int(where * (side - kept)) + np.arange(side) * kept // side


def sound_of_frames(sound: NDArray[np.float32], times: NDArray[np.float64]) -> Features:
    """`[n, bands]`: mean log-mel of the time from each frame to the next; silence where the sound has ended.

    Args:
        sound: `[samples]` at 16 kHz.
        times: `[n]` seconds, ascending.
    """
    bands = log_mel(sound)
    length = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    starts = np.round(times * RATE / HOP).astype(int)
    ends = np.maximum(np.round((times + length) * RATE / HOP).astype(int), starts + 1)
    silent = np.zeros(bands.shape[1], np.float32)
    told = [bands[a:b].mean(axis=0) if a < len(bands) else silent for a, b in zip(starts, ends, strict=True)]
    return np.stack(told).astype(np.float32)


@dataclass(frozen=True)
class Parts:
    """One clip cut in time: the learner's, early stopping's and the judge's part, with gaps between them."""

    train: Clip
    valid: Clip
    held_out: Clip


def split_in_time(clip: Clip, *, held_out: float, valid: float, gap: float) -> Parts:
    """The last `held_out` of `clip` and the last `valid` of what is left before it are kept apart.

    Args:
        held_out: share of the frames, 0..1.
        valid: share of the frames, 0..1.
        gap: seconds before each of both parts that belong to none, so that no window reaches across.
    """
    n = len(clip.times)
    frames = int(np.ceil(gap / max(float(np.median(np.diff(clip.times))), 1e-9))) if n > 1 else 0
    test = n - round(n * held_out)
    judged = max(test - frames - round(n * valid), 0)
    return Parts(
        clip.part(0, max(judged - frames, 0)), clip.part(judged, max(test - frames, judged)), clip.part(test, n)
    )
