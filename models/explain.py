"""Why this video: how much each video of a history adds to a recommended one's score.

A score that is a sum over watched videos falls apart into its terms, exactly. Any other is asked what becomes of it
when a video is left out of the history (Tan et al., Counterfactual explainable recommendation, CIKM 2021, in its
simplest form): those amounts need not add up to the score.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.protocol import Recommender
from models.sequences import Sequences
from models.sparse_table import SparseTable
from models.two_stage import TwoStage

# So many watched videos are left out, one by one, at most: the newest.
MOST = 100

Videos = NDArray[np.integer[Any]]
Parts = NDArray[np.float32]


def contributions(model: Recommender, history: Sequences, videos: Videos) -> tuple[Videos, Parts, bool]:
    """What the videos of `history` add to the scores of `videos`.

    Args:
        model: trained.
        history: of one viewer.
        videos: `[k]` indices of the recommended.

    Returns:
        `[n]` distinct watched videos, ascending; `[k, n]` what each adds; and whether that is exact, so that the rows
        add up to the scores.
    """
    if isinstance(model, SparseTable) and model.sums_over_videos:
        return *_terms(model, history, videos), True
    return *_left_out(model, history, videos), False


def _terms(model: SparseTable, history: Sequences, videos: Videos) -> tuple[Videos, Parts]:
    table = model.video_vectors()
    terms = sp.coo_array(table[videos].multiply(model.viewer_vectors(history)))
    watched = np.unique(history.videos)
    parts = np.zeros((len(videos), len(watched)), np.float32)
    np.add.at(parts, (terms.row, np.searchsorted(watched, terms.col % table.shape[0])), terms.data)
    return watched, parts


def _left_out(model: Recommender, history: Sequences, videos: Videos) -> tuple[Videos, Parts]:
    newest_first = history.videos[::-1]
    distinct = newest_first[np.sort(np.unique(newest_first, return_index=True)[1])]
    watched = np.sort(distinct[:MOST])
    whole, lacking = (scores_of(model, each, videos) for each in (history, without_each(history, watched)))
    return watched, (whole - lacking).T.astype(np.float32)


def scores_of(model: Recommender, histories: Sequences, videos: Videos) -> Parts:
    """`[viewers, k]` what `model` makes of the `videos` `[k]`, which no viewer of `histories` has watched."""
    if isinstance(model, TwoStage):
        return model.score(histories, videos)
    scores: Any = model.viewer_vectors(histories) @ model.video_vectors()[videos].T
    dense: Parts = scores if isinstance(scores, np.ndarray) else scores.toarray()
    return dense


def without_each(history: Sequences, watched: Videos) -> Sequences:
    """`[len(watched)]` histories: that of `history` without the first of `watched`, without the second, and so on."""
    keep = history.videos[None] != watched[:, None]
    at = np.nonzero(keep)[1]
    offsets = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int64)
    return history.picked(offsets, at)
