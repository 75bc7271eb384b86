"""A recommender as an evaluation sees it: tonight's video indices in and out, and nothing wrong let through."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from infra.errors import Refused
from models.embedded import Embedded
from models.protocol import Diverged, Recommender, Vectors
from models.ranking import Ranked, by_axis, rank
from models.rerank import Reranker
from models.sequences import Sequences
from models.two_stage import TwoStage
from tasks.metrics import hits

Lists = NDArray[np.int32]


@dataclass(frozen=True)
class Vocabulary:
    """Which of the model's videos are which of tonight's.

    Attributes:
        to_own: `[tonight's videos]` int32 index in the model, -1 where the model does not know the video.
        to_tonight: `[the model's videos]` int32 index tonight, -1 where the video is gone.
        listed: `[n]` int32, ascending: the model's videos that lists are made of.
    """

    to_own: NDArray[np.int32]
    to_tonight: NDArray[np.int32]
    listed: NDArray[np.int32]

    @classmethod
    def of_tonight(cls, n_videos: int, *, known: int) -> "Vocabulary":
        """A model of tonight, which may know more videos behind the vocabulary: those that nobody has watched."""
        own = np.arange(n_videos, dtype=np.int32)
        return cls(own, np.concatenate([own, np.full(known - n_videos, -1, np.int32)]), own)


class Ranker:
    """A recommender that takes and gives tonight's video indices, whatever its own are, and whose lists are checked."""

    def __init__(
        self,
        recommender: Recommender,
        *,
        n_videos: int,
        name: str,
        vocabulary: Vocabulary | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.name = name
        self.n_videos = n_videos
        self.reranker = reranker
        self._recommender = recommender
        vectors = recommender.video_vectors()
        known = int(vectors.shape[0])
        expected = n_videos if vocabulary is None else len(vocabulary.to_tonight)
        more = vocabulary is None and isinstance(recommender, Embedded) and known > expected
        if known != expected and not more:
            raise Refused(f"{name} must have a vector for each of {expected} videos. Received: {known}")
        self._refuse_unless_finite(vectors, "video")
        self._vocabulary = vocabulary or Vocabulary.of_tonight(n_videos, known=known)
        listed = self._vocabulary.listed
        self._videos = by_axis(vectors if len(listed) == known else vectors[listed])
        self._place = np.full(known, -1, np.int32)
        self._place[listed] = np.arange(len(listed), dtype=np.int32)

    def recommend(self, histories: Sequences, k: int) -> Lists:
        """`[viewers, k]` tonight's indices, best first, seen videos left out; -1 for none and for a video gone.

        Raises:
            Refused: a viewer cannot be folded in, or a vector or score is not finite.
        """
        return self.recommend_each(histories, [k])[k]

    def recommend_each(self, histories: Sequences, ks: Sequence[int]) -> dict[int, Lists]:
        """`recommend` for each length: of re-ranked lists a short one need not be the beginning of a long one."""
        own = _renumbered(histories, self._vocabulary.to_own)
        sizes = {k: self.reranker.pool_size(k) if self.reranker else k for k in ks}
        try:
            pool, scores = self._pool(own, max(sizes.values()))
        except (Diverged, ValueError) as error:
            raise Refused(f"{self.name} cannot be ranked: {error}") from error
        to_tonight = np.append(self._vocabulary.to_tonight, np.int32(-1))
        lists = {}
        for k, size in sizes.items():
            best = pool[:, :size]
            lists[k] = to_tonight[self.reranker.lists(best, scores[:, :size], own, k) if self.reranker else best]
        return lists

    def _pool(self, own: Sequences, size: int) -> Ranked:
        """The `size` best `[viewers, size]` in the model's own indices, of histories in them, and their scores."""
        listed = self._vocabulary.listed
        if isinstance(self._recommender, TwoStage):
            return self._recommender.rank(own, size, listed=listed)
        vectors = self._recommender.viewer_vectors(own)
        self._refuse_unless_finite(vectors, "viewer")
        places, scores = rank(vectors, self._videos, _renumbered(own, self._place), size)
        return np.append(listed, np.int32(-1))[places], scores

    def _refuse_unless_finite(self, vectors: Vectors, whose: str) -> None:
        values = vectors.data if isinstance(vectors, sp.csr_array) else vectors
        if not np.isfinite(values).all():
            raise Refused(f"{self.name} must give finite {whose} vectors. Received: NaN or infinity in some")


def _renumbered(histories: Sequences, to: NDArray[np.int32]) -> Sequences:
    """`histories` with `to` of each video for its index; those of -1 are left out."""
    own = to[histories.videos]
    return replace(histories.where(own >= 0), videos=own[own >= 0])


def refuse_bad_lists(lists: Lists, seen: Sequences, *, n_videos: int, name: str) -> None:
    """Raise `Refused` when a list holds a video that is unknown, repeated or already seen by its viewer."""
    if (lists < -1).any() or (lists >= n_videos).any():
        raise Refused(f"{name} must recommend videos 0..{n_videos - 1}. Received: {lists.min()}..{lists.max()}")
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise Refused(f"{name} must recommend each video once to a viewer. Received: a list with a video twice")
    if hits(lists, seen).any():
        raise Refused(f"{name} must leave out videos that a viewer has seen. Received: a list with a seen video")
