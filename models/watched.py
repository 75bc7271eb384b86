"""Who watched what, as a sparse matrix: of viewers to learn from, and of any viewers to be recommended to."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.decay import decay
from models.sequences import Sequences

# Of a viewer's events, when videos are compared: one viewer's pairs grow with the square.
COMPARED = 10_000


def watched_until(history: Sequences, now: int, *, n_videos: int, half_life_days: float | None) -> sp.csr_array:
    """`[viewers, n_videos]` float32, to learn from: `history`, decayed by its events' ages at `now`."""
    fresh = decay(now - history.times, half_life_days=half_life_days)
    return watched_matrix(history, fresh * history.weights, n_videos=n_videos)


def watched_by(histories: Sequences, *, n_videos: int, half_life_days: float | None) -> sp.csr_array:
    """`[viewers, n_videos]` float32, to fold in: decayed like the training input.

    Ages count from each viewer's own newest event: that scales a viewer's whole row and changes no linear model's
    ranking, and a viewer who comes back after years does not underflow to nothing.
    """
    newest = histories.newest()[histories.viewer_of_event()]
    fresh = decay(newest - histories.times, half_life_days=half_life_days)
    return watched_matrix(histories, fresh * histories.weights, n_videos=n_videos)


def watched_matrix(history: Sequences, strengths: NDArray[np.floating], *, n_videos: int) -> sp.csr_array:
    """`[viewers, n_videos]` float32: who watched what; of several events of one pair the strongest counts.

    Args:
        strengths: `[events]`, what each event of `history` counts.
    """
    keys = history.viewer_of_event() * n_videos + history.videos
    pairs, pair_of_event = np.unique(keys, return_inverse=True)
    strongest = np.zeros(len(pairs))
    np.maximum.at(strongest, pair_of_event, strengths)
    viewers, videos = np.divmod(pairs, n_videos)
    offsets = np.searchsorted(viewers, np.arange(history.n_viewers + 1))
    arrays = (strongest.astype(np.float32), videos.astype(np.int32), offsets.astype(np.int32))
    return sp.csr_array(arrays, shape=(history.n_viewers, n_videos))


def compared(watched: sp.csr_array, history: Sequences) -> sp.csr_array:
    """`watched` `[viewers, n_videos]` of `history`, of each viewer only what the newest `COMPARED` events hold."""
    if history.lengths.max(initial=0) <= COMPARED:
        return watched
    places = history.offsets[1:][history.viewer_of_event()] - np.arange(len(history.videos))
    recent = history.where(places <= COMPARED)
    kept = watched_matrix(recent, np.ones(len(recent.videos)), n_videos=watched.shape[1])
    return sp.csr_array(watched.multiply(kept))
