"""Item-based nearest neighbours: a video is near those that the same viewers watched.

Sarwar et al., Item-based collaborative filtering recommendation algorithms, WWW 2001; with the shrinkage of Bell and
Koren (2007), which distrusts a likeness that few viewers vouch for.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.item_to_item import ItemToItem
from models.params import ItemKnnParams

# Products of so many entries are held at once: a block of the catalogue's likenesses, 16 bytes an entry.
ENTRIES_A_BLOCK = 1 << 23


class ItemKnn(ItemToItem):
    """Shrunk cosine, `x_i . x_j / (|x_i| |x_j| + shrink)`, the `neighbours` nearest of each video kept."""

    name = "itemknn"
    params_type = ItemKnnParams
    params: ItemKnnParams

    def _table_of(self, watched: sp.csr_array) -> sp.csr_array:
        viewers_of = watched.T.tocsr()
        norms = np.sqrt(viewers_of.multiply(viewers_of).sum(axis=1))
        step = max(1, ENTRIES_A_BLOCK // max(1, viewers_of.shape[0]))
        rows = [
            self._nearest(viewers_of[start : start + step] @ watched, norms, start)
            for start in range(0, viewers_of.shape[0], step)
        ]
        return sp.csr_array(sp.vstack(rows, format="csr"))

    def _nearest(self, products: sp.csr_array, norms: NDArray[np.float32], start: int) -> sp.csr_array:
        """The nearest of each video of a block that begins at video `start`; ties go to the lower index."""
        targets = np.repeat(np.arange(products.shape[0]), np.diff(products.indptr))
        likeness = products.data / (norms[targets + start] * norms[products.indices] + self.params.shrink)
        other = (targets + start != products.indices) & (likeness > 0)
        targets, sources, likeness = targets[other], products.indices[other], likeness[other]
        order = np.lexsort((sources, -likeness, targets))
        targets, sources, likeness = targets[order], sources[order], likeness[order]
        rank = np.arange(len(targets)) - np.searchsorted(targets, targets)
        kept = rank < self.params.neighbours
        block = sp.csr_array((likeness[kept].astype(np.float32), (targets[kept], sources[kept])), shape=products.shape)
        block.sort_indices()
        return block
