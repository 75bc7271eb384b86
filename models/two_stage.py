"""Two-stage recommenders: several retrievers each propose videos, and a model that looks closer ranks their union.

(Covington, Adams and Sargin, Deep neural networks for YouTube recommendations, RecSys 2016.) A model that looks at
viewer and video together has no vectors whose dot product is its score, so it cannot be searched: what can be is the
first retriever, whose vectors the whole lends to the index.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.protocol import Recommender, Vectors
from models.ranking import NONE, SCORES_A_BLOCK, Ranked, best_columns, by_axis
from models.sequences import Sequences

Mask = NDArray[np.bool_]
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Pool:
    """What retrievers propose to some viewers, pair by pair: by viewer, then video.

    Attributes:
        viewers: `[pairs]` int64 rows of the histories that were asked about.
        videos: `[pairs]` int32.
        scores: by retriever `[pairs]` float32: 1 for a viewer's best video, 0 for the last that it proposes.
        places: by retriever `[pairs]` int32 from 0; what it does not propose itself has the place `each`.
        each: how many each retriever proposes.
    """

    viewers: NDArray[np.int64]
    videos: NDArray[np.int32]
    scores: Mapping[str, NDArray[np.float32]]
    places: Mapping[str, NDArray[np.int32]]
    each: int

    def __len__(self) -> int:
        return len(self.viewers)

    def take(self, at: NDArray[np.int64]) -> "Pool":
        """The pairs at `at`."""
        scores, places = {n: s[at] for n, s in self.scores.items()}, {n: p[at] for n, p in self.places.items()}
        return Pool(self.viewers[at], self.videos[at], scores, places, self.each)

    @property
    def proposed(self) -> Mask:
        """`[pairs]`: by some retriever; the others were added."""
        proposed: Mask = np.any([places < self.each for places in self.places.values()], axis=0)
        return proposed


class Retrievers:
    """Trained recommenders `by_name`, at least one, that propose videos."""

    def __init__(self, by_name: Mapping[str, Recommender]) -> None:
        self.by_name = by_name
        self._turned = {name: by_axis(model.video_vectors()) for name, model in by_name.items()}
        self._n_videos = next(iter(self._turned.values())).shape[1]

    @property
    def first(self) -> Recommender:
        """The one whose vectors can be searched."""
        return next(iter(self.by_name.values()))

    def propose(
        self, histories: Sequences, each: int, *, listed: Rows | None = None, also: Sequences | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Sequences, Pool]]:
        """Block by block rows of `histories`, these alone, and what is proposed to them: nothing that they have seen.

        Args:
            histories: `[n]`.
            each: videos that each retriever proposes to a viewer, at most.
            listed: videos that may be proposed; None: all.
            also: `[n]` whose videos are added to what is proposed.

        Raises:
            ValueError: a score is not finite.
        """
        step = max(1, SCORES_A_BLOCK // (self._n_videos * len(self.by_name)))
        allowed = np.full(self._n_videos, listed is None)
        allowed[[] if listed is None else listed] = True
        for start in range(0, histories.n_viewers, step):
            rows = np.arange(start, min(start + step, histories.n_viewers))
            some = histories.take(rows)
            unseen = np.tile(allowed, (len(rows), 1))
            unseen[some.viewer_of_event(), some.videos] = False
            added = np.zeros_like(unseen)
            if also is not None:
                more = also.take(rows)
                added[more.viewer_of_event(), more.videos] = True
            yield rows, some, self._union(some, unseen, added, min(each, self._n_videos))

    def _union(self, histories: Sequences, unseen: Mask, added: Mask, each: int) -> Pool:
        tables = {name: self._scores(name, histories) for name in self.by_name}
        places = {name: _places(np.where(unseen, table, -np.inf), each) for name, table in tables.items()}
        proposed = np.any([table < each for table in places.values()], axis=0)
        pairs = np.nonzero((proposed | added) & unseen)
        scores = {name: _between(table, (places[name] < each) & unseen)[pairs] for name, table in tables.items()}
        of_pairs = {name: table[pairs] for name, table in places.items()}
        return Pool(pairs[0].astype(np.int64), pairs[1].astype(np.int32), scores, of_pairs, each)

    def _scores(self, name: str, histories: Sequences) -> NDArray[np.float32]:
        product: Any = self.by_name[name].viewer_vectors(histories) @ self._turned[name]
        scores: NDArray[np.float32] = product if isinstance(product, np.ndarray) else product.toarray()
        if not np.isfinite(scores).all():
            raise ValueError(f"Scores must be finite. Received: NaN or infinity from {name}")
        return scores


def _places(table: NDArray[np.float32], each: int) -> NDArray[np.int32]:
    """The place of each entry of its row's `each` largest, from 0; `each` for the others."""
    places = np.full(table.shape, each, np.int32)
    np.put_along_axis(places, best_columns(table, each), np.arange(each, dtype=np.int32)[None], axis=1)
    return places


def _between(table: NDArray[np.float32], proposed: Mask) -> NDArray[np.float32]:
    """`table` moved, row by row, so that its best proposed is 1 and its last 0; all 0 where these tie."""
    best = np.where(proposed, table, -np.inf).max(axis=1, keepdims=True)
    last = np.where(proposed, table, np.inf).min(axis=1, keepdims=True)
    known = np.isfinite(best) & (best > last)
    moved = (table - np.where(known, last, 0)) / np.where(known, best - last, 1)
    return np.where(known, np.clip(moved, -1, 1), 0).astype(np.float32)


class TwoStage(ABC):
    """A `models.protocol.Recommender` that ranks what its retrievers propose; its vectors are the first one's.

    Attributes:
        each: videos that each retriever proposes to a viewer.
    """

    each: int
    _retrievers: Retrievers

    @abstractmethod
    def _scores(self, histories: Sequences, pool: Pool) -> NDArray[np.float32]:
        """`[pairs]` of the pairs in `pool`, whose viewers are rows of `histories`."""

    def rank(self, histories: Sequences, k: int, *, listed: Rows | None = None) -> Ranked:
        """As `models.ranking.top_k`: what is seen is left out, the rest of a short list is -1.

        Args:
            histories: of any viewers.
            k: length of the lists.
            listed: the videos that lists are made of; None: all.

        Raises:
            ValueError: a score is not finite.
        """
        found = []
        for rows, some, pool in self._retrievers.propose(histories, max(k, self.each), listed=listed):
            scores = self._scores(some, pool)
            if not np.isfinite(scores).all():
                raise ValueError("Scores must be finite. Received: NaN or infinity")
            found.append(best_of(pool, scores, k, n_viewers=len(rows)))
        return np.concatenate([lists for lists, _ in found]), np.concatenate([scores for _, scores in found])

    def score(self, histories: Sequences, videos: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """`[viewers, len(videos)]` scores of `videos`, which none of `histories` holds."""
        n = histories.n_viewers
        offsets, flat = np.arange(n + 1) * len(videos), np.tile(videos, n)
        asked = Sequences(offsets, flat, np.zeros(len(flat), np.int64), np.ones(len(flat), np.float32))
        scores = np.zeros((n, len(videos)), np.float32)
        place = np.full(int(videos.max()) + 1, -1)
        place[videos] = np.arange(len(videos))
        for rows, some, pool in self._retrievers.propose(histories, self.each, also=asked):
            pool = pool.take(np.flatnonzero(np.isin(pool.videos, videos)))
            scores[rows[pool.viewers], place[pool.videos]] = self._scores(some, pool)
        return scores

    def viewer_vectors(self, histories: Sequences) -> Vectors:
        """Of the first retriever."""
        return self._retrievers.first.viewer_vectors(histories)

    def video_vectors(self) -> Vectors:
        """Of the first retriever."""
        return self._retrievers.first.video_vectors()


def best_of(pool: Pool, scores: NDArray[np.float32], k: int, *, n_viewers: int) -> Ranked:
    """The `k` best of each viewer's pairs, best first, equal scores by lower index.

    Args:
        pool: pairs of viewers `0..n_viewers - 1`.
        scores: `[pairs]`.
        k: length of the lists.
        n_viewers: of whom some may have no pair.

    Returns:
        `[n_viewers, k]` videos and scores, -1 and `-inf` where a viewer has fewer.
    """
    order = np.lexsort((pool.videos, -scores, pool.viewers))
    places = np.arange(len(pool)) - np.searchsorted(pool.viewers, pool.viewers)
    kept = order[places < k]
    at = (pool.viewers[places < k], places[places < k])
    lists, best = np.full((n_viewers, k), NONE, np.int32), np.full((n_viewers, k), -np.inf, np.float32)
    lists[at], best[at] = pool.videos[kept], scores[kept]
    return lists, best
