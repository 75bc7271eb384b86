"""Viewer histories as compressed sparse rows (CSR): flat arrays plus offsets, so they stay memory-mapped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAYS = ("offsets", "videos", "times", "weights")
CONTEXT = "context-"


@dataclass(frozen=True)
class Sequences:
    """What each viewer watched, oldest first.

    Attributes:
        offsets: `[viewers + 1]` int64; viewer `v` owns positions `offsets[v]:offsets[v + 1]`.
        videos: `[events]` int32, index of the video in the vocabulary.
        times: `[events]` int64, milliseconds since 1970 UTC, ascending within a viewer.
        weights: `[events]` float32, strength of the positive, 1.0 where feedback is not graded.
        contexts: by name of a circumstance (`region`, `device`) `[events]` int32, a hash of what it was, -1 where that
            is not known; those that the source never tells are left out.
    """

    offsets: NDArray[np.int64]
    videos: NDArray[np.int32]
    times: NDArray[np.int64]
    weights: NDArray[np.float32]
    contexts: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    @property
    def n_viewers(self) -> int:
        """Number of viewers, those without events included."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`[viewers]` int64, events of each viewer."""
        return np.diff(self.offsets)

    def of(self, viewer: int) -> NDArray[np.int32]:
        """Videos of one viewer, oldest first."""
        return self.videos[self.offsets[viewer] : self.offsets[viewer + 1]]

    def viewer_of_event(self) -> NDArray[np.int64]:
        """`[events]` int64: which viewer each event belongs to."""
        return np.repeat(np.arange(self.n_viewers), self.lengths)

    def newest(self) -> NDArray[np.int64]:
        """`[viewers]` int64 time of each one's newest event; the least number where there is none."""
        return self._times_at(self.offsets[1:] - 1, np.iinfo(np.int64).min)

    def oldest(self) -> NDArray[np.int64]:
        """`[viewers]` int64 time of each one's oldest event; the greatest number where there is none."""
        return self._times_at(self.offsets[:-1], np.iinfo(np.int64).max)

    def reordered(self, order: NDArray[np.int64]) -> "Sequences":
        """The events in `order` `[events]`, which leaves each with its viewer."""
        return self.picked(self.offsets, order)

    def where(self, keep: NDArray[np.bool_]) -> "Sequences":
        """The events under the mask `keep` `[events]`; every viewer stays, possibly empty."""
        counts = np.add.reduceat(np.append(keep, False).astype(np.int64), self.offsets[:-1]) * (self.lengths > 0)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return self.picked(offsets, keep)

    def take(self, viewers: NDArray[np.integer]) -> "Sequences":
        """The histories of `viewers` `[n]`, in that order."""
        lengths = self.lengths[viewers]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        at = np.repeat(self.offsets[viewers], lengths) + within
        return self.picked(offsets, at)

    def picked(self, offsets: NDArray[np.int64], at: NDArray[Any]) -> "Sequences":
        """The events `at`, positions or a mask, of viewers that own them by `offsets`."""
        contexts = {name: codes[at] for name, codes in self.contexts.items()}
        return Sequences(offsets, self.videos[at], self.times[at], self.weights[at], contexts)

    def merged(self, later: "Sequences") -> "Sequences":
        """The events of both, of the same viewers, ascending in time; where times tie, this one's come first."""
        viewers = np.concatenate([self.viewer_of_event(), later.viewer_of_event()])
        times = np.concatenate([self.times, later.times])
        order = np.lexsort((times, viewers))
        videos = np.concatenate([self.videos, later.videos])
        weights = np.concatenate([self.weights, later.weights])
        contexts = {name: np.concatenate([self.contexts[name], later.contexts[name]]) for name in self.contexts}
        both = Sequences(self.offsets + later.offsets, videos, times, weights, contexts)
        return both.reordered(order)

    def save(self, folder: Path) -> None:
        """Write one `.npy` file an array into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {CONTEXT + name: codes for name, codes in self.contexts.items()}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "Sequences":
        """Memory-map what `save` wrote."""
        arrays = {name: _mapped(folder / f"{name}.npy") for name in ARRAYS}
        files = sorted(folder.glob(f"{CONTEXT}*.npy"))
        return cls(**arrays, contexts={file.stem.removeprefix(CONTEXT): _mapped(file) for file in files})

    def _times_at(self, events: NDArray[np.int64], otherwise: int) -> NDArray[np.int64]:
        there = self.lengths > 0
        times = np.full(self.n_viewers, otherwise)
        times[there] = self.times[events[there]]
        return times


def _mapped(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
