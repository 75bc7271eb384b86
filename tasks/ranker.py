"""A recommender as an evaluation sees it: tonight's video indices in and out, and nothing wrong let through."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from infra.errors import Refused
from models.protocol import Recommender, Vectors
from models.ranking import by_axis, rank
from models.sequences import Sequences
from tasks.metrics import hits

Lists = NDArray[np.int32]


@dataclass(frozen=True)
class Vocabulary:
    """Which of the model's videos are which of tonight's.

    Attributes:
        to_own: `[tonight's videos]` int32 index in the model, -1 where the model does not know the video.
        to_tonight: `[the model's videos]` int32 index tonight, -1 where the video is gone.
    """

    to_own: NDArray[np.int32]
    to_tonight: NDArray[np.int32]


class Ranker:
    """A recommender that takes and gives tonight's video indices, whatever its own are, and whose lists are checked."""

    def __init__(
        self, recommender: Recommender, *, n_videos: int, name: str, vocabulary: Vocabulary | None = None
    ) -> None:
        self.name = name
        self.n_videos = n_videos
        self._recommender = recommender
        self._vocabulary = vocabulary
        vectors = recommender.video_vectors()
        expected = n_videos if vocabulary is None else len(vocabulary.to_tonight)
        if vectors.shape[0] != expected:
            raise Refused(f"{name} must have a vector for each of {expected} videos. Received: {vectors.shape[0]}")
        self._refuse_unless_finite(vectors, "video")
        self._videos = by_axis(vectors)

    def recommend(self, histories: Sequences, k: int) -> Lists:
        """`[viewers, k]` tonight's indices, best first, seen videos left out; -1 for none and for a video gone.

        Raises:
            Refused: a vector or score is not finite.
        """
        own = histories if self._vocabulary is None else _in(histories, self._vocabulary.to_own)
        vectors = self._recommender.viewer_vectors(own)
        self._refuse_unless_finite(vectors, "viewer")
        try:
            lists, _ = rank(vectors, self._videos, own, k)
        except ValueError as error:
            raise Refused(f"{self.name} cannot be ranked: {error}") from error
        if self._vocabulary is None:
            return lists
        return np.append(self._vocabulary.to_tonight, np.int32(-1))[lists]

    def _refuse_unless_finite(self, vectors: Vectors, whose: str) -> None:
        values = vectors.data if isinstance(vectors, sp.csr_array) else vectors
        if not np.isfinite(values).all():
            raise Refused(f"{self.name} must give finite {whose} vectors. Received: NaN or infinity in some")


def _in(histories: Sequences, to_own: NDArray[np.int32]) -> Sequences:
    """`histories` in the model's own indices; what it does not know is left out."""
    own = to_own[histories.videos]
    known = histories.where(own >= 0)
    return Sequences(known.offsets, own[own >= 0], known.times, known.weights)


def refuse_bad_lists(lists: Lists, seen: Sequences, *, n_videos: int, name: str) -> None:
    """Raise `Refused` when a list holds a video that is unknown, repeated or already seen by its viewer."""
    if (lists < -1).any() or (lists >= n_videos).any():
        raise Refused(f"{name} must recommend videos 0..{n_videos - 1}. Received: {lists.min()}..{lists.max()}")
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise Refused(f"{name} must recommend each video once to a viewer. Received: a list with a video twice")
    if hits(lists, seen).any():
        raise Refused(f"{name} must leave out videos that a viewer has seen. Received: a list with a seen video")
