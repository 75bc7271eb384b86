"""Re-ranking: diversity, a cap per author, places for fresh videos and for rarely watched ones.

Lists are filled place by place from a pool that a recommender ranked, for a block of viewers at once:

- diversity: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998),
  `argmax (1 - diversity) score - diversity max cosine to those chosen`, scores scaled to 0..1 over a viewer's pool
- freshness: once the places left are no more than the fresh videos still due, only fresh ones are taken
- exploration: the last places are drawn among rarely watched videos. These stand in one order that the seed shuffles,
  and each viewer walks it from a place that the seed and their own history decide: all are shown equally often, and
  an evaluation, a server and a rebuild draw alike
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.hashing import mixed
from models.params import RerankParams
from models.protocol import Vectors
from models.ranking import NONE
from models.sequences import Sequences

# Pool places that are looked at together; what is held for them is this times the pool's size, 4 bytes each.
PLACES_A_BLOCK = 4096

# Entries of a sparse vector that its cosines are made of: all of them cost the square of their number.
STRONGEST = 50

Lists = NDArray[np.int32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Reranker:
    """Makes lists of pools.

    Attributes:
        params: what is asked for.
        seed: of the draw.
        vectors: `[videos, d]` of any length: what is alike. Not read without diversity.
        authors: `[videos]` int32, -1 where unknown; such videos are never capped.
        fresh: int32 indices of the fresh videos, in the order in which they are taken where the pool has too few.
        rare: int32 indices of the rarely watched videos.
    """

    params: RerankParams
    seed: int
    vectors: Vectors
    authors: NDArray[np.int32]
    fresh: NDArray[np.int32]
    rare: NDArray[np.int32]

    def pool_size(self, k: int) -> int:
        """How large a pool a list of `k` is made of."""
        return max(self.params.pool, k)

    def lists(self, pool: Lists, scores: NDArray[np.float32], seen: Sequences, k: int) -> Lists:
        """Lists of `k` for viewers.

        Args:
            pool: `[viewers, at least k]` distinct unseen videos, best first, -1 for none.
            scores: `[viewers, the same]`, read where there is a video.
            seen: `[viewers]` what each has watched.
            k: list length, at least 1.

        Returns:
            `[viewers, k]` int32 distinct unseen videos; -1, at the end, where the pool or a cap leaves none.

        Raises:
            ValueError: shapes do not fit.
        """
        if pool.shape != scores.shape or seen.n_viewers != len(pool) or not 1 <= k <= pool.shape[1]:
            raise ValueError(
                "Re-ranking takes a pool [viewers, at least k], its scores, as many histories, and k >= 1. Received: "
                f"{pool.shape}, {scores.shape}, {seen.n_viewers} histories, k={k}"
            )
        lists = np.empty((len(pool), k), np.int32)
        step = max(1, PLACES_A_BLOCK // pool.shape[1])
        for start in range(0, len(pool), step):
            block = np.arange(start, min(start + step, len(pool)))
            lists[block] = self._block(pool[block], scores[block], seen.take(block), k)
        return lists

    def _block(self, pool: Lists, scores: NDArray[np.float32], seen: Sequences, k: int) -> Lists:
        drawn = self._drawn(pool[:, :k], seen, min(self.params.explore_slots, k))
        slots = min(self.params.fresh_slots, k)
        taken = np.concatenate([pool, drawn], axis=1)
        more = _next_open(self.fresh, np.zeros(len(pool), np.int64), taken, seen, slots)
        lists = np.concatenate([self._chosen(pool, scores, more, drawn, k), drawn], axis=1)
        return np.take_along_axis(lists, np.argsort(lists == NONE, axis=1, kind="stable"), axis=1)[:, :k]

    def _drawn(self, shown: Lists, seen: Sequences, slots: int) -> Lists:
        """`[viewers, slots]` rarely watched videos that would not be shown otherwise, -1 for none."""
        drawn = _next_open(self._walk, self._starts(seen), shown, seen, slots)
        if self.params.per_author:
            authors = self._author[drawn]
            same = (authors[:, :, None] == authors[:, None, :]) & (authors != NONE)[:, :, None]
            drawn[np.tril(same, -1).sum(axis=2) >= self.params.per_author] = NONE
        return drawn

    def _starts(self, seen: Sequences) -> NDArray[np.int64]:
        """`[viewers]` where each one's walk begins."""
        history = np.zeros(seen.n_viewers, np.uint64)
        np.add.at(history, seen.viewer_of_event(), mixed(seen.videos.astype(np.uint64)))
        return (mixed(history ^ self._salt) % np.uint64(max(len(self.rare), 1))).astype(np.int64)

    @cached_property
    def _walk(self) -> NDArray[np.int32]:
        """`rare`, shuffled."""
        return self.rare[np.argsort(mixed(self.rare.astype(np.uint64) ^ self._salt), kind="stable")]

    @property
    def _salt(self) -> NDArray[np.uint64]:
        return mixed(np.array([self.seed % 2**64], np.uint64))

    @cached_property
    def _author(self) -> NDArray[np.int32]:
        """`[videos + 1]`; the last is for -1."""
        return np.append(self.authors, np.int32(NONE))

    @cached_property
    def _is_fresh(self) -> Mask:
        """`[videos + 1]`; the last is for -1."""
        mask = np.zeros(len(self.authors) + 1, np.bool_)
        mask[self.fresh] = True
        return mask

    def _chosen(self, pool: Lists, scores: NDArray[np.float32], more: Lists, drawn: Lists, k: int) -> Lists:
        """`[viewers, k]` of the pool, and of `more` fresh videos where it has too few; as many -1 as are `drawn`."""
        videos = np.concatenate([pool, more], axis=1)
        authors, diversity = self._author[videos], self.params.diversity
        places = k - (drawn != NONE).sum(axis=1)
        worth = np.zeros(videos.shape)
        worth[:, : pool.shape[1]] = (1 - diversity) * _scaled(scores, pool != NONE)
        filling = _Filling(
            pooled=np.arange(videos.shape[1]) < pool.shape[1],
            fresh=self._is_fresh[videos],
            authors=authors,
            worth=worth,
            cosines=diversity * _cosines(self.vectors, videos) if diversity else None,
            free=(videos != NONE) & ~(videos[:, :, None] == drawn[:, None, :]).any(axis=2),
            by_author=(authors[:, :, None] == self._author[drawn][:, None, :]).sum(axis=2),
            due=np.minimum(self.params.fresh_slots, places),
            nearest=np.full(videos.shape, -np.inf, np.float32),
        )
        lists = np.full((len(pool), k), NONE, np.int32)
        for place in range(k):
            rows, best = filling.take(places - place, self.params.per_author)
            lists[rows, place] = videos[rows, best]
        return lists


@dataclass
class _Filling:
    """Lists half filled, and what may come next; all `[viewers, videos]` of the block but for two.

    Attributes:
        pooled: `[videos]`; the others are for want of fresh ones.
        worth: scaled scores, by their weight.
        cosines: `[viewers, videos, videos]` by their weight; None without diversity.
        free: not taken yet. by_author: how many of this video's author are.
        due: `[viewers]` fresh videos still to come.
        nearest: largest of the cosines to those taken; while it is minus infinity, the first video is the best.
    """

    pooled: Mask
    fresh: Mask
    authors: NDArray[np.int32]
    worth: NDArray[np.float64]
    cosines: NDArray[np.float32] | None
    free: Mask
    by_author: NDArray[np.int64]
    due: NDArray[np.int64]
    nearest: NDArray[np.float32]

    def take(self, left: NDArray[np.int64], per_author: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take one for each viewer with places `left` `[viewers]`: the rows where there was one, and its columns."""
        usable = self._usable(left, per_author)
        rows = np.flatnonzero(usable.any(axis=1))
        best = np.argmax(np.where(usable, self.worth - self.nearest, -np.inf), axis=1)[rows]
        self.free[rows, best] = False
        self.due[rows] -= self.fresh[rows, best]
        self.by_author[rows] += self.authors[rows] == self.authors[rows, best][:, None]
        if self.cosines is not None:
            self.nearest[rows] = np.maximum(self.nearest[rows], self.cosines[rows, best])
        return rows, best

    def _usable(self, left: NDArray[np.int64], per_author: int | None) -> Mask:
        usable = self.free & (left > 0)[:, None]
        if per_author:
            usable &= (self.authors == NONE) | (self.by_author < per_author)
        late = ((self.due > 0) & (self.due >= left))[:, None]
        return _first_with_any(
            usable & self.pooled & (self.fresh | ~late), usable & ~self.pooled & late, usable & self.pooled
        )


def _scaled(scores: NDArray[np.float32], there: Mask) -> NDArray[np.float64]:
    """Each row's scores over 0..1, all 0 where they are equal or there are none."""
    low = np.min(scores, axis=1, where=there, initial=np.inf, keepdims=True).astype(np.float64)
    span = np.max(scores, axis=1, where=there, initial=-np.inf, keepdims=True) - low
    known = there & (span > 0)
    scaled: NDArray[np.float64] = np.divide(scores - low, span, out=np.zeros(scores.shape), where=known)
    return scaled


def _cosines(vectors: Vectors, videos: Lists) -> NDArray[np.float32]:
    """`[viewers, n, n]` between the videos `[viewers, n]` of each; -1 is as the last video, and nobody looks."""
    if isinstance(vectors, sp.csr_array):
        distinct, at = np.unique(videos % vectors.shape[0], return_inverse=True)
        rows = _strongest(vectors[distinct])
        lengths = np.sqrt((rows * rows).sum(axis=1))
        units = sp.csr_array(sp.diags_array(_inverse(lengths)) @ rows)
        table: NDArray[np.float32] = (units @ units.T).toarray()
        return table[at[:, :, None], at[:, None, :]]
    # A product a viewer, all of one shape: the same bits whoever else is in the block.
    own = vectors[videos]
    own = own * _inverse(np.linalg.norm(own, axis=2))[:, :, None]
    cosines: NDArray[np.float32] = own @ own.transpose(0, 2, 1)
    return cosines


def _strongest(rows: sp.csr_array) -> sp.csr_array:
    """`rows` with the `STRONGEST` largest entries of each by size, and those that tie with the last of them."""
    sizes, lengths = np.abs(rows.data), np.diff(rows.indptr)
    spare = int(lengths.max(initial=0)) - STRONGEST
    if spare <= 0:
        return rows
    table = np.zeros((len(lengths), spare + STRONGEST), rows.dtype)
    table[np.arange(table.shape[1]) < lengths[:, None]] = sizes
    least = np.partition(table, spare, axis=1)[:, spare]
    kept = sp.csr_array(
        (np.where(sizes >= np.repeat(least, lengths), rows.data, 0), rows.indices, rows.indptr), rows.shape
    )
    kept.eliminate_zeros()
    return kept


def _inverse(lengths: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 over each, and 0 for 0."""
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def _first_with_any(*masks: Mask) -> Mask:
    """Row by row the first of `masks` `[n, m]` that holds anywhere; the last where none does."""
    *earlier, chosen = masks
    for mask in reversed(earlier):
        chosen = np.where(mask.any(axis=1, keepdims=True), mask, chosen)
    return chosen


def _next_open(
    candidates: NDArray[np.int32], starts: NDArray[np.int64], taken: Lists, seen: Sequences, count: int
) -> Lists:
    """`[viewers, count]`: the first of `candidates`, round from each start, neither taken nor seen; -1 for none."""
    found = np.full((len(taken), count), NONE, np.int32)
    if not count or not len(candidates):
        return found
    viewers = np.concatenate([np.nonzero(taken != NONE)[0], seen.viewer_of_event()])
    videos = np.concatenate([taken[taken != NONE], seen.videos]).astype(np.int64)
    among = np.isin(videos, candidates)
    viewers, videos = viewers[among], videos[among]
    # Beyond so many nobody has to look.
    width = min(len(candidates), count + int(np.bincount(viewers, minlength=1).max()))
    walk = candidates[(starts[:, None] + np.arange(width)) % len(candidates)]
    n_videos = int(candidates.max()) + 1
    open_ = ~np.isin(np.arange(len(taken))[:, None] * n_videos + walk, viewers * n_videos + videos)
    first = np.argsort(~open_, axis=1, kind="stable")[:, :count]
    there = np.take_along_axis(open_, first, axis=1)
    found[:, : first.shape[1]] = np.where(there, np.take_along_axis(walk, first, axis=1), NONE)
    return found
