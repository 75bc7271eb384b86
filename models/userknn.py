"""User-based nearest neighbours: what viewers like this one watched.

Resnick et al., GroupLens: an open architecture for collaborative filtering of netnews, CSCW 1994; for feedback that is
not rated, Herlocker et al., An algorithmic framework for performing collaborative filtering, SIGIR 1999. The score of
video `j` for viewer `u` is `sum of s(u, v) w_vj` over the `neighbours` training viewers `v` nearest to `u`, with a
likeness `s` of `models.neighbours`. The space has one axis a training viewer.

The saved model is the training histories themselves, without ids yet personal data: an erasure takes it away with the
releases that it retires, as it does with every model that a viewer's data went into, and nothing less would do.
"""

import scipy.sparse as sp

from models.neighbours import Neighbours
from models.params import UserKnnParams
from models.sequences import Sequences
from models.sparse_table import SparseTable


class UserKnn(SparseTable):
    """Row `j` of the table holds the weights with which training viewers watched video `j`.

    A training viewer who comes back is the nearest to itself. That takes one neighbour's place and speaks for watched
    videos only: a model that knows viewers by their history alone cannot tell it from a twin.
    """

    name = "userknn"
    params_type = UserKnnParams
    params: UserKnnParams

    def viewer_vectors(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, training viewers]` float32: likenesses of the nearest."""
        return self._viewers.of(self._watched(histories))

    def _table_of(self, watched: sp.csr_array, history: Sequences) -> sp.csr_array:
        return watched.T.tocsr()

    def _adopt(self, table: sp.csr_array) -> None:
        super()._adopt(table)
        self._viewers = Neighbours(table.T.tocsr(), self.params)
