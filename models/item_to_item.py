"""What the item-to-item models share: a sparse table of weights between videos, and histories as points in its space.

The space has one axis a video. A viewer's vector has an entry for each video watched, a video's vector holds the
weights by which watched videos speak for it, so their dot product is the model's score.
"""

import scipy.sparse as sp

from models.sequences import Sequences
from models.sparse_table import SparseTable


class ItemToItem(SparseTable):
    """Row `j` of the table holds the weights by which videos speak for `j`."""

    sums_over_videos = True

    def viewer_vectors(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, videos]` float32: the videos watched, decayed like the training input."""
        return self._watched(histories)
