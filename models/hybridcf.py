"""User- and item-based neighbours blended.

Wang, de Vries and Reinders, Unifying user-based and item-based collaborative filtering approaches by similarity
fusion, SIGIR 2006, with their delta 0: `score = (1 - weight) * item score + weight * user score`. Theirs are both
predicted ratings; here each side's scores of one viewer are divided by their Euclidean length over the videos not
watched, so that neither side rules by its scale. One positive factor a side and viewer leaves it a dot product:
the space has one axis a video, then one a training viewer, whose histories the model holds: see `models.userknn`.
"""

import numpy as np
import scipy.sparse as sp

from models.neighbours import ENTRIES_A_BLOCK, Neighbours
from models.params import HybridCfParams
from models.sequences import Sequences
from models.sparse_table import SparseTable
from models.watched import compared

# Shorter than this, one over the length would not be finite.
TINY = np.finfo(np.float32).tiny


class HybridCf(SparseTable):
    """The tables of `models.itemknn` and `models.userknn`, side by side."""

    name = "hybridcf"
    params_type = HybridCfParams
    params: HybridCfParams

    def viewer_vectors(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, videos + training viewers]` float32: the videos watched and the nearest viewers, both scaled."""
        watched = self._watched(histories)
        items = _scaled(watched, self._by_video, histories, to=1 - self.params.weight)
        users = _scaled(self._viewers.of(watched), self._by_viewer, histories, to=self.params.weight)
        return sp.csr_array(sp.hstack([items, users], format="csr"))

    def _table_of(self, watched: sp.csr_array, history: Sequences) -> sp.csr_array:
        viewers_of = watched.T.tocsr()
        likenesses = Neighbours(compared(watched, history).T.tocsr(), self.params.items).of_each_other()
        return sp.csr_array(sp.hstack([likenesses, viewers_of], format="csr"))

    def _adopt(self, table: sp.csr_array) -> None:
        super()._adopt(table)
        n_videos = table.shape[0]
        self._by_video = table[:, :n_videos].T.tocsr()
        self._by_viewer = table[:, n_videos:].T.tocsr()
        self._viewers = Neighbours(self._by_viewer, self.params.users)


def _scaled(vectors: sp.csr_array, videos_by_axis: sp.csr_array, seen: Sequences, *, to: float) -> sp.csr_array:
    """`vectors` `[viewers, d]`, each scaled so that its scores of unseen videos have the length `to`; zeros stay."""
    n_viewers, n_videos = vectors.shape[0], videos_by_axis.shape[1]
    scale = np.zeros(n_viewers, np.float32)
    step = max(1, ENTRIES_A_BLOCK // max(1, n_videos))
    for start in range(0, n_viewers, step):
        block = np.arange(start, min(start + step, n_viewers))
        scores = (vectors[block] @ videos_by_axis).toarray()
        of_block = seen.take(block)
        scores[of_block.viewer_of_event(), of_block.videos] = 0
        lengths = np.linalg.norm(scores, axis=1)
        scale[block] = np.divide(to, lengths, out=np.zeros_like(lengths), where=lengths > TINY)
    return sp.csr_array(sp.diags_array(scale) @ vectors)
