"""EASE: a linear autoencoder without hidden layer, solved in closed form.

Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019; the equation is in `models.closed_form`.
"""

import scipy.sparse as sp

from models.closed_form import item_weights
from models.item_to_item import ItemToItem
from models.params import EaseParams
from models.sequences import Sequences


class Ease(ItemToItem):
    """The `neighbours` strongest weights of each video are kept, so that model and index stay small."""

    name = "ease"
    params_type = EaseParams
    params: EaseParams

    def _table_of(self, watched: sp.csr_array, history: Sequences) -> sp.csr_array:
        return item_weights(watched, l2=self.params.l2, neighbours=self.params.neighbours)
