"""Metrics of ranked lists, per viewer and over all lists.

Per-viewer metrics have binary relevance and equal those of `ranx` (`ndcg`, `recall`, `hit_rate`, `mrr`, `map` at k):
NDCG discounts by log2(rank + 1) and its ideal list holds min(k, relevant) videos; MAP divides by all relevant videos,
also where there are more than k of them.

A list is a row of video indices, best first; -1 is a place without a video and never a hit.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from models.sequences import Sequences
from tasks.schema import Videos

RANKING = ("ndcg", "recall", "hit", "mrr", "map")
LISTS = ("coverage", "novelty", "popularity_bias", "diversity")
DIVERSITY_LISTS = 5_000
CO_WATCH_VIEWERS = 20_000
DIVERSITY_BLOCK = 256
MARKS_AT_ONCE = 1 << 21


def ranking_metrics(
    recommended: NDArray[np.int32], relevant: Sequences, *, ks: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """NDCG, recall, hit rate, MRR and MAP of each viewer.

    Args:
        recommended: `[viewers, width]` video indices, distinct within a row but for -1.
        relevant: `[viewers]` what each viewer went on to watch, each video once.
        ks: list lengths, each at most `width`.

    Returns:
        `"ndcg@10"` and so on, each `[viewers]` float64 in 0..1; 0 for a viewer without relevant videos.

    Raises:
        ValueError: the numbers of viewers differ, or a k is above `width`.
    """
    n, width = recommended.shape
    if relevant.n_viewers != n or max(ks) > width:
        raise ValueError(
            f"Lists and relevant videos must be of the same viewers, and every k within the list. Received: {n} lists "
            f"of {width}, relevant videos of {relevant.n_viewers} viewers, ks={list(ks)}"
        )
    hit = hits(recommended, relevant)
    count = np.maximum(relevant.lengths, 1)
    ranks = np.arange(1, width + 1)[:, None]
    gains = 1.0 / np.log2(ranks + 1)
    ideal = np.concatenate([[0.0], np.cumsum(gains)])
    found = np.cumsum(hit, axis=0)
    gained = np.cumsum(hit * gains, axis=0)
    precision = np.cumsum(hit * found / ranks, axis=0)
    first = np.where(hit.any(axis=0), hit.argmax(axis=0), width)
    metrics = {}
    for k in ks:
        metrics[f"ndcg@{k}"] = gained[k - 1] / ideal[np.minimum(count, k)]
        metrics[f"recall@{k}"] = found[k - 1] / count
        metrics[f"hit@{k}"] = (found[k - 1] > 0).astype(np.float64)
        metrics[f"mrr@{k}"] = np.where(first < k, 1.0 / (first + 1), 0.0)
        metrics[f"map@{k}"] = precision[k - 1] / count
    return metrics


def hits(recommended: NDArray[np.int32], relevant: Sequences) -> NDArray[np.bool_]:
    """Which recommended videos their viewer has in `relevant`.

    Returns:
        `[width, viewers]` bool; places first, so that sums over them are of whole rows.
    """
    # A block's pairs are marked in a table, looked up and unmarked: no sorting, and the table stays in cache.
    n, width = recommended.shape
    # The last column is where -1 looks, and it is never marked.
    columns = 2 + max(int(recommended.max(initial=-1)), int(relevant.videos.max(initial=-1)))
    step = max(MARKS_AT_ONCE // columns, 1)
    marks = np.zeros(min(step, n) * columns, np.bool_)
    owners = relevant.viewer_of_event()
    hit = np.empty((width, n), np.bool_)
    for start in range(0, n, step):
        stop = min(start + step, n)
        events = slice(relevant.offsets[start], relevant.offsets[stop])
        pairs = (owners[events] - start) * columns + relevant.videos[events]
        places = recommended[start:stop].T
        marks[pairs] = True
        hit[:, start:stop] = marks[np.arange(stop - start) * columns + np.where(places < 0, columns - 1, places)]
        marks[pairs] = False
    return hit


def list_metrics(
    recommended: NDArray[np.int32],
    *,
    ks: Sequence[int],
    train_events: NDArray[np.int64],
    features: sp.csr_array,
) -> dict[str, float]:
    """Coverage, novelty, popularity bias and intra-list diversity at each k.

    Args:
        recommended: `[viewers, width]` video indices, -1 for none.
        ks: list lengths.
        train_events: `[videos]` training positives of each video.
        features: `[videos, features]` unit rows, from `video_features`.

    Returns:
        `"coverage@10"` and so on. All but coverage are NaN when nothing at all is recommended.
    """
    metrics = {}
    for k in ks:
        lists = recommended[:, :k]
        shown = lists[lists >= 0]
        metrics[f"coverage@{k}"] = len(np.unique(shown)) / len(train_events)
        metrics[f"novelty@{k}"] = _novelty(shown, train_events)
        metrics[f"popularity_bias@{k}"] = _popularity_bias(shown, train_events)
        metrics[f"diversity@{k}"] = _diversity(lists, features)
    return metrics


def _novelty(shown: NDArray[np.int32], train_events: NDArray[np.int64]) -> float:
    """Mean surprise of the videos shown, in bits: -log2 p, p the share of training positives, each counted once more
    so that a new video's surprise is finite (Zhou et al. 2010, with add-one smoothing).
    """
    if len(shown) == 0:
        return float("nan")
    share = (train_events + 1) / (train_events.sum() + len(train_events))
    return float(-np.log2(share)[shown].mean())


def _popularity_bias(shown: NDArray[np.int32], train_events: NDArray[np.int64]) -> float:
    """Mean popularity (training positives) of the videos shown over that of the videos watched in training, each
    watch counted: 1 recommends as popular videos as people watch.
    """
    watched = float((train_events.astype(np.float64) ** 2).sum() / max(int(train_events.sum()), 1))
    if len(shown) == 0 or watched == 0:
        return float("nan")
    return float(train_events[shown].mean()) / watched


def _diversity(lists: NDArray[np.int32], features: sp.csr_array) -> float:
    """1 - mean cosine over all pairs of a list, then the mean over lists of two videos or more; 0 with no such list.

    Over at most `DIVERSITY_LISTS` lists, evenly spaced, so that time and memory stay bounded. A video without
    features is unlike every other.
    """
    if not (lists >= 0).any():
        return float("nan")
    sample = lists[_evenly_spaced(len(lists), DIVERSITY_LISTS)]
    sample = sample[(sample >= 0).sum(axis=1) >= 2]
    if len(sample) == 0:
        return 0.0
    blocks = [sample[start : start + DIVERSITY_BLOCK] for start in range(0, len(sample), DIVERSITY_BLOCK)]
    return float(1.0 - np.concatenate([_mean_cosines(block, features) for block in blocks]).mean())


def _mean_cosines(lists: NDArray[np.int32], features: sp.csr_array) -> NDArray[np.float64]:
    """`[lists]` mean cosine of each list's pairs: |sum of unit rows|^2 holds every pair twice and each row's own 1."""
    filled = lists >= 0
    size = filled.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(size)])
    shape = (len(lists), features.shape[0])
    chosen = sp.csr_array((np.ones(offsets[-1]), lists[filled], offsets), shape=shape)
    total = chosen @ features
    total.data **= 2
    own = chosen @ (np.diff(features.indptr) > 0).astype(np.float64)
    cosines: NDArray[np.float64] = (total.sum(axis=1) - own) / (size * (size - 1))
    return cosines


def video_features(videos: pl.DataFrame, train: Sequences) -> sp.csr_array:
    """What makes two videos alike, `[videos, features]` float64 unit rows (a row of zeros where nothing is known).

    Tags and category where the catalogue has them for at least half of its videos, else who watched the video in
    training (cosine of co-watches, over at most `CO_WATCH_VIEWERS` viewers, evenly spaced).

    Args:
        videos: the vocabulary, row i video index i.
        train: training histories over it.
    """
    terms = terms_of(videos)
    if 2 * terms["video"].n_unique() >= videos.height:
        column = terms["term"].rank("dense").to_numpy().astype(np.int64) - 1
        return _unit_rows(terms["video"].to_numpy().astype(np.int64), column, n_rows=videos.height)
    sample = train.take(_evenly_spaced(train.n_viewers, CO_WATCH_VIEWERS))
    return _unit_rows(sample.videos.astype(np.int64), sample.viewer_of_event(), n_rows=videos.height)


def terms_of(videos: pl.DataFrame) -> pl.DataFrame:
    """`video` (index), `term`: the distinct tags and categories of each video, as far as the catalogue has them."""
    indexed = videos.with_row_index("video")
    parts = [pl.DataFrame(schema={"video": pl.UInt32, "term": pl.String})]
    if Videos.TAGS in videos.columns:
        tags = indexed.select("video", term=pl.col(Videos.TAGS)).explode("term")
        parts.append(tags.with_columns(term="tag " + pl.col("term").cast(pl.String)))
    if Videos.CATEGORY in videos.columns:
        parts.append(indexed.select("video", term="category " + pl.col(Videos.CATEGORY).cast(pl.String)))
    return pl.concat(parts).drop_nulls().unique(maintain_order=True)


def _unit_rows(rows: NDArray[np.int64], columns: NDArray[np.int64], *, n_rows: int) -> sp.csr_array:
    """Ones at the distinct (row, column) pairs, each row scaled to length 1."""
    width = int(columns.max(initial=0)) + 1
    pairs = np.unique(rows * width + columns)
    rows, columns = np.divmod(pairs, width)
    length = np.sqrt(np.bincount(rows, minlength=n_rows))
    return sp.csr_array((1.0 / length[rows], (rows, columns)), shape=(n_rows, width))


def _evenly_spaced(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` of 0..n-1, evenly spaced."""
    return np.arange(min(n, most)) * n // max(min(n, most), 1)
