"""EASE over a decayed history, blended with first-order transitions from its newest events.

`score(u, j) = (1 - blend) * sum_i w_ui B_ij + blend * sum_p a_p T(i_p -> j)`, where `B` is EASE's (Steck,
Embarrassingly shallow autoencoders for sparse data, WWW 2019), `w` the decayed history, `i_p` the event `p` places
from its end and `a_p` proportional to `1 / p`, summing to 1, over the `newest` events. `T(i -> j) = c_ij / (c_i +
shrink)` is the Markov chain over items that Rendle, Freudenthaler and Schmidt-Thieme factorise (Factorizing
personalized Markov chains for next-basket recommendation, WWW 2010), here counted: `c_ij` is how often `j` was the
next watch after `i`, a pair counting less the longer the gap, and `c_i` how often anything was. The weights `1 / p` are
those of the sequential rules of Ludewig and Jannach, Evaluation of session-based recommendation algorithms, 2018.

The space has one axis a watched video, then one a newest video.
"""

import numpy as np
import scipy.sparse as sp

from models.closed_form import item_weights
from models.decay import decay
from models.params import EaseMarkovParams
from models.sequences import Sequences
from models.sparse_table import SparseTable


class EaseMarkov(SparseTable):
    """EASE's table and that of the transitions, side by side, each times its share of the blend."""

    name = "easemarkov"
    sums_over_videos = True
    params_type = EaseMarkovParams
    params: EaseMarkovParams

    def viewer_vectors(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, 2 videos]` float32: the videos watched, decayed, and the newest of them, in order."""
        newest = newest_videos(histories, self.params.newest, n_videos=self._table.shape[0])
        return sp.csr_array(sp.hstack([self._watched(histories), newest], format="csr"))

    def _table_of(self, watched: sp.csr_array, history: Sequences) -> sp.csr_array:
        params, n_videos = self.params, watched.shape[1]
        weights = item_weights(watched, l2=params.l2, neighbours=params.neighbours)
        gap = params.gap_half_life_days
        steps = transitions(history, n_videos=n_videos, shrink=params.shrink, gap_half_life_days=gap)
        blended = [weights * np.float32(1 - params.blend), steps * np.float32(params.blend)]
        return sp.csr_array(sp.hstack(blended, format="csr"))


def transitions(history: Sequences, *, n_videos: int, shrink: float, gap_half_life_days: float | None) -> sp.csr_array:
    """`[n_videos, n_videos]` float32: in row `j` how strongly each video leads to `j`. The same again is no step."""
    viewers = history.viewer_of_event()
    other = (viewers[1:] == viewers[:-1]) & (history.videos[1:] != history.videos[:-1])
    before = np.flatnonzero(other)
    gaps = history.times[before + 1] - history.times[before]
    counts = decay(gaps, half_life_days=gap_half_life_days)
    pairs = (history.videos[before + 1], history.videos[before])
    table = sp.csr_array((counts, pairs), shape=(n_videos, n_videos))
    followed = np.bincount(pairs[1], weights=counts, minlength=n_videos)
    total = followed[table.indices] + shrink
    table.data = np.divide(table.data, total, out=np.zeros_like(total), where=total > 0)
    return table.astype(np.float32)


def newest_videos(histories: Sequences, newest: int, *, n_videos: int) -> sp.csr_array:
    """`[viewers, n_videos]` float32: `1 / p` for the event `p` places from a history's end, scaled to sum to 1."""
    viewers = histories.viewer_of_event()
    places = histories.offsets[1:][viewers] - np.arange(len(viewers))
    recent = places <= newest
    viewers, shares = viewers[recent], 1 / places[recent]
    shares /= np.bincount(viewers, weights=shares, minlength=histories.n_viewers)[viewers]
    arrays = (shares.astype(np.float32), (viewers, histories.videos[recent]))
    return sp.csr_array(arrays, shape=(histories.n_viewers, n_videos))
