"""Item-based nearest neighbours: a video is near those that the same viewers watched.

Sarwar et al., Item-based collaborative filtering recommendation algorithms, WWW 2001: the score of video `j` for
viewer `u` is `sum of s(i, j) w_ui` over the watched `i` among the nearest of `j`, with a likeness `s` of
`models.neighbours`.
"""

import scipy.sparse as sp

from models.item_to_item import ItemToItem
from models.neighbours import Neighbours
from models.params import ItemKnnParams
from models.sequences import Sequences
from models.watched import compared


class ItemKnn(ItemToItem):
    """The table holds the likenesses of each video's `neighbours` nearest."""

    name = "itemknn"
    params_type = ItemKnnParams
    params: ItemKnnParams

    def _table_of(self, watched: sp.csr_array, history: Sequences) -> sp.csr_array:
        return Neighbours(compared(watched, history).T.tocsr(), self.params).of_each_other()
