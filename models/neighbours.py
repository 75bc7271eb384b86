"""The nearest rows of a sparse matrix, by likenesses that are all shrunk: `numerator / (denominator + shrink)`.

- `cosine`: `x . y / (|x| |y| + shrink)`.
- `pearson`: the same of rows less their means, `(x . y - sum(x) sum(y) / m) / (|x - mean| |y - mean| + shrink)`. The
  mean is over all `m` axes, and what a row lacks counts 0: the default voting of Breese, Heckerman and Kadie,
  Empirical analysis of predictive algorithms for collaborative filtering, UAI 1998. Over the axes that both rows have,
  which is Pearson's in rating prediction, feedback that is not graded has no variance at all. Rows that share no axis
  correlate below zero and are nobody's neighbours, so the matrix stays sparse.
- `jaccard`: `|X and Y| / (|X or Y| + shrink)` of the sets of entries, whatever their weights.

The shrinkage is that of Bell and Koren, Scalable collaborative filtering with jointly derived neighborhood
interpolation weights, ICDM 2007: it distrusts a likeness that little vouches for.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.params import NeighbourParams, Similarity

# Products of so many entries are held at once, about 60 bytes an entry for Pearson, half of that otherwise.
ENTRIES_A_BLOCK = 1 << 23

# A covariance below this share of its product is the rounding of a difference of equals.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rows:
    """Rows as one kind of likeness reads them.

    Attributes:
        matrix: `[n, m]`: weights, or ones for sets; float64 for Pearson, whose difference float32 could not hold.
        sums: `[n]`, of each row.
        sizes: `[n]`: length, that of the centred row for Pearson, number of entries for sets.
    """

    matrix: sp.csr_array
    sums: NDArray[Any]
    sizes: NDArray[Any]

    @classmethod
    def of(cls, matrix: sp.csr_array, similarity: Similarity) -> "Rows":
        """`matrix` `[n, m]`, made ready."""
        if similarity == "jaccard":
            matrix = matrix.copy()
            matrix.data = (matrix.data != 0).astype(np.float32)
        elif similarity == "pearson":
            matrix = matrix.astype(np.float64)
        sums = matrix.sum(axis=1)
        if similarity == "jaccard":
            return cls(matrix, sums, sums)
        squares = matrix.multiply(matrix).sum(axis=1)
        if similarity == "pearson":
            squares = np.maximum(squares - sums**2 / max(1, matrix.shape[1]), 0)
        return cls(matrix, sums, np.sqrt(squares))

    def block(self, part: slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.matrix[part], self.sums[part], self.sizes[part])


class Neighbours:
    """The `neighbours` nearest among `rows` `[n, m]`, of themselves or of others; of equally near ones the first.

    Only likenesses above 0 count. Work goes by blocks, so that memory grows with the entries and not with `n` squared.
    """

    def __init__(self, rows: sp.csr_array, params: NeighbourParams) -> None:
        self._params = params
        self._rows = Rows.of(rows, params.similarity)
        self._by_axis = self._rows.matrix.T.tocsr()

    def of_each_other(self) -> sp.csr_array:
        """`[n, n]` float32 likenesses, no row being its own neighbour."""
        return self._nearest(self._rows, each_other=True)

    def of(self, others: sp.csr_array) -> sp.csr_array:
        """`[others, n]` float32 likenesses of `others` `[others, m]`."""
        return self._nearest(Rows.of(others, self._params.similarity), each_other=False)

    def _nearest(self, queries: Rows, *, each_other: bool) -> sp.csr_array:
        n_queries, n_rows = queries.matrix.shape[0], self._by_axis.shape[1]
        step = max(1, ENTRIES_A_BLOCK // max(1, n_rows))
        blocks = [
            self._nearest_of(queries.block(slice(start, start + step)), itself=start if each_other else None)
            for start in range(0, max(1, n_queries), step)
        ]
        return sp.csr_array(sp.vstack(blocks, format="csr"))

    def _nearest_of(self, queries: Rows, *, itself: int | None) -> sp.csr_array:
        """The nearest of each row of a block; `itself`: which of the rows its first one is, if it is one of them."""
        products = queries.matrix @ self._by_axis
        targets = np.repeat(np.arange(products.shape[0]), np.diff(products.indptr))
        likeness = self._likeness(products, queries, targets)
        near = likeness > 0
        if itself is not None:
            near &= targets + itself != products.indices
        triplets = (likeness[near], targets[near], products.indices[near])
        return strongest(*triplets, shape=products.shape, keep=self._params.neighbours)

    def _likeness(self, products: sp.csr_array, queries: Rows, targets: NDArray[np.int64]) -> NDArray[np.floating]:
        """`[entries]` of `products`."""
        numerator, sources = products.data, products.indices
        one, other = queries.sizes[targets], self._rows.sizes[sources]
        denominator = one + other - numerator if self._params.similarity == "jaccard" else one * other
        if self._params.similarity == "pearson":
            expected = queries.sums[targets] * self._rows.sums[sources] / queries.matrix.shape[1]
            numerator = np.where(numerator - expected > ROUNDING * numerator, numerator - expected, 0)
        denominator = denominator + self._params.shrink
        shrunk: NDArray[np.floating] = np.zeros_like(numerator)
        np.divide(numerator, denominator, out=shrunk, where=denominator > 0)
        return shrunk


def strongest(
    values: NDArray[np.floating],
    targets: NDArray[np.int64],
    sources: NDArray[np.int32],
    *,
    shape: tuple[int, int],
    keep: int,
) -> sp.csr_array:
    """`shape` float32: of each row the `keep` largest entries, of equal ones those of the lower column.

    Args:
        values, targets, sources: `[entries]`, each one's value, row and column; rows ascend.
    """
    contenders = _in_the_running(values, np.searchsorted(targets, np.arange(shape[0] + 1)), keep)
    values, targets, sources = values[contenders], targets[contenders], sources[contenders]
    crowded = np.flatnonzero(np.bincount(targets, minlength=shape[0])[targets] > keep)  # for entries that tie
    order = crowded[np.lexsort((sources[crowded], -values[crowded], targets[crowded]))]
    place = np.arange(len(order)) - np.searchsorted(targets[order], targets[order])
    kept = np.ones(len(values), np.bool_)
    kept[order[place >= keep]] = False
    table = sp.csr_array((values[kept].astype(np.float32), (targets[kept], sources[kept])), shape=shape)
    table.sort_indices()
    return table


def _in_the_running(values: NDArray[np.floating], offsets: NDArray[np.int64], keep: int) -> NDArray[np.bool_]:
    """`[entries]`: those no smaller than their row's `keep`-th largest. Partitioning spares most rows' sorting."""
    mask = np.ones(len(values), np.bool_)
    for start, stop in pairwise(offsets.tolist()):
        if stop - start > keep:
            row = values[start:stop]
            mask[start:stop] = row >= np.partition(row, len(row) - keep)[len(row) - keep]
    return mask
