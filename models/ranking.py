"""Exact ranking: for each viewer the `k` videos of the highest score, those already seen left out."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.protocol import Vectors
from models.sequences import Sequences

# Scores that are held at once, 4 bytes each; selecting among them takes about three times as much again.
SCORES_A_BLOCK = 1 << 22

NONE = -1

Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]


def top_k(viewer_vectors: Vectors, video_vectors: Vectors, seen: Sequences, k: int) -> Ranked:
    """Rank all videos for each viewer by dot product.

    Args:
        viewer_vectors: `[viewers, d]`, dense or sparse.
        video_vectors: `[videos, d]`, of the same kind.
        seen: `[viewers]` histories whose videos are left out.
        k: list length, at least 1.

    Returns:
        Video indices `[viewers, k]` int32, best first, equal scores by lower index; and their scores, float32. Where
        fewer than `k` videos are unseen the rest is -1 with score `-inf`.

    Raises:
        ValueError: shapes do not fit, `k` is below 1, or a score that matters is not finite.
    """
    return rank(viewer_vectors, by_axis(video_vectors), seen, k)


def by_axis(video_vectors: Vectors) -> Vectors:
    """`[d, videos]`: video vectors as `rank` takes them; for sparse ones, the lists of an inverted index."""
    return video_vectors.T.tocsr() if isinstance(video_vectors, sp.csr_array) else video_vectors.T


def rank(viewer_vectors: Vectors, videos_by_axis: Vectors, seen: Sequences, k: int) -> Ranked:
    """`top_k` with the videos already turned by `by_axis`."""
    n_viewers, n_videos = viewer_vectors.shape[0], videos_by_axis.shape[1]
    if viewer_vectors.shape[1] != videos_by_axis.shape[0] or seen.n_viewers != n_viewers or k < 1:
        raise ValueError(
            "top_k takes [viewers, d], [videos, d], as many histories as viewers, and k >= 1. Received: "
            f"{viewer_vectors.shape}, {videos_by_axis.shape[::-1]}, {seen.n_viewers} histories, k={k}"
        )
    videos = np.full((n_viewers, k), NONE, np.int32)
    scores = np.full((n_viewers, k), -np.inf, np.float32)
    step = max(1, SCORES_A_BLOCK // max(1, n_videos))
    for start in range(0, n_viewers, step):
        block = slice(start, min(start + step, n_viewers))
        table = _scores(viewer_vectors[block], videos_by_axis)
        _leave_out(table, seen, block)
        best = best_columns(table, min(k, n_videos))
        videos[block, : best.shape[1]] = best
        scores[block, : best.shape[1]] = np.take_along_axis(table, best, axis=1)
    videos[np.isneginf(scores)] = NONE
    if not (np.isfinite(scores) | np.isneginf(scores)).all():
        raise ValueError("Scores must be finite. Received: NaN or infinity from the dot products of these vectors")
    return videos, scores


def _scores(viewers: Vectors, videos_by_axis: Vectors) -> NDArray[np.float32]:
    product: Any = viewers @ videos_by_axis
    table: NDArray[np.float32] = product.toarray() if isinstance(viewers, sp.csr_array) else product
    return table


def _leave_out(table: NDArray[np.float32], seen: Sequences, block: slice) -> None:
    lengths = seen.lengths[block]
    videos = seen.videos[seen.offsets[block.start] : seen.offsets[block.stop]]
    table[np.repeat(np.arange(len(lengths)), lengths), videos] = -np.inf


def best_columns(table: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """`[rows, k]` columns of the largest entries, best first, equal ones by lower index.

    NaN counts as largest, so it cannot hide.
    """
    table, n = _without_zeros(table), table.shape[1]
    best = np.sort(np.argpartition(table, n - k, axis=1)[:, n - k :], axis=1)
    values = np.take_along_axis(table, best, axis=1)
    # Partitioning picks any of the entries that tie with the last one chosen; those rows are chosen again by index.
    last = values.min(axis=1, keepdims=True)
    tied = np.flatnonzero(np.count_nonzero(table >= last, axis=1) > k)
    if len(tied):
        best[tied] = _lowest_of_ties(table[tied], last[tied], k)
        values[tied] = np.take_along_axis(table[tied], best[tied], axis=1)
    return np.take_along_axis(best, np.argsort(-values, axis=1, kind="stable"), axis=1)


def _without_zeros(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """`table` with its zeros, if many, as negative numbers next to zero, the lower the index the greater: same order.

    Partitioning takes about ten times as long over entries that tie, and most scores of sparse vectors are zero.
    """
    zero = table == 0
    next_to_zero = -np.arange(1, table.shape[1] + 1, dtype=np.float32) * np.finfo(np.float32).tiny
    if np.count_nonzero(zero) * 8 < table.size or np.any((table < 0) & (table >= next_to_zero[-1])):
        return table
    return np.where(zero, next_to_zero, table)


def _lowest_of_ties(table: NDArray[np.float32], last: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """`[rows, k]` columns above `last`, filled up with the lowest of those that equal it, in ascending order."""
    above = table > last
    equal = table == last
    room = k - np.count_nonzero(above, axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return np.nonzero(chosen)[1].reshape(len(table), k)
