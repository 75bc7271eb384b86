"""What viewers did with the videos that they were shown, whether that made a positive of it or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.sequences import Sequences

# What can be told of an event: `watch`, which is log(1 + seconds), and `rating` are values, all others yes or no.
WATCH, FINISHED = "watch", "finished"
TOLD = (WATCH, FINISHED, "liked", "shared", "followed", "commented", "disliked", "rating")
VALUES = frozenset({WATCH, "rating"})


@dataclass(frozen=True)
class Feedback:
    """Events of any kind, in no order.

    Attributes:
        viewers: `[events]` int64 indices.
        videos: `[events]` int32 indices.
        times: `[events]` int64, milliseconds since 1970 UTC.
        told: by name of `TOLD` `[events]` float32, NaN where it is not known; a name that no event tells is left out.
    """

    viewers: NDArray[np.int64]
    videos: NDArray[np.int32]
    times: NDArray[np.int64]
    told: Mapping[str, NDArray[np.float32]]

    def where(self, keep: NDArray[np.bool_]) -> "Feedback":
        """The events under the mask `keep` `[events]`."""
        told = {name: values[keep] for name, values in self.told.items()}
        return Feedback(self.viewers[keep], self.videos[keep], self.times[keep], told)

    def until_newest(self, histories: Sequences) -> "Feedback":
        """What each viewer did up to the newest event of `histories` `[viewers]`; nothing of who has none there."""
        return self.where(self.times <= histories.newest()[self.viewers])

    @classmethod
    def none(cls) -> "Feedback":
        """Of a source that tells nothing."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64), {})


@dataclass(frozen=True)
class VideoFacts:
    """What a catalogue says of the vocabulary's videos.

    Attributes:
        uploaded: `[videos]` int64, milliseconds since 1970 UTC, -1 where it is not known.
        seconds: `[videos]` float32, their length, NaN where it is not known.
        topics: `[videos, topics]` float32, category and tags, rows that sum to 1 or are empty.
    """

    uploaded: NDArray[np.int64]
    seconds: NDArray[np.float32]
    topics: sp.csr_array = field(repr=False)

    @classmethod
    def unknown(cls, n_videos: int) -> "VideoFacts":
        """Of a catalogue that says nothing."""
        empty = sp.csr_array(np.zeros((n_videos, 0), np.float32))
        return cls(np.full(n_videos, -1, np.int64), np.full(n_videos, np.nan, np.float32), empty)
