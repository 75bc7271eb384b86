"""Nodes of a graph as vectors: near each other where steps lead to and from the same nodes.

Levy and Goldberg, Neural word embedding as implicit matrix factorization, NeurIPS 2014: the positive pointwise mutual
information of what is counted together, `max(log(n_ij n / (n_i n_j)), 0)`, and of its truncated SVD `U sqrt(S)`.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.one_thread import one_blas_thread

# Halko, Martinsson and Tropp, Finding structure with randomness, SIAM Review 2011: with these the leading values are
# right to 1e-7 even where all are of like size, and the decomposition of a small matrix is whole.
OVERSAMPLING = 16
POWERS = 12
RANK = 1e-9  # of the largest singular value: what is below it is rounding
SEED = 0


def transition_vectors(steps: sp.csr_array, *, dim: int) -> NDArray[np.float32]:
    """`[nodes, dim]` float32, the same bits each time; zeros for a node without steps, and in columns beyond the rank.

    Args:
        steps: `[nodes, nodes]` counts of steps from row to column. Their direction does not count here, nor do steps
            from a node to itself: those are most of all, and would make each node like itself alone.
        dim: columns.
    """
    counts = (steps + steps.T).astype(np.float64)
    counts.setdiag(0)
    counts.eliminate_zeros()
    active = np.flatnonzero(np.diff(counts.indptr))
    vectors = np.zeros((steps.shape[0], dim), np.float32)
    if len(active):
        found = _truncated(positive_pmi(counts[active][:, active]), dim)
        vectors[active, : found.shape[1]] = found
    return vectors


def positive_pmi(counts: sp.csr_array) -> sp.csr_array:
    """`max(log(n_ij n / (n_i n_j)), 0)` of a matrix of counts in which no row or column is empty; what is 0 stays 0."""
    pairs = counts.tocoo()
    rows, columns = pairs.coords
    together = pairs.data * counts.sum() / (counts.sum(axis=1)[rows] * counts.sum(axis=0)[columns])
    return sp.csr_array((np.maximum(np.log(together), 0), (rows, columns)), shape=counts.shape)


def _truncated(symmetric: sp.csr_array, dim: int) -> NDArray[np.float64]:
    """`U sqrt(S)` of the `dim` largest singular values, `[n, at most dim]`; in each column the largest is positive."""
    n = symmetric.shape[0]
    with one_blas_thread():
        basis = np.random.default_rng(SEED).standard_normal((n, min(dim + OVERSAMPLING, n)))
        for _ in range(POWERS):
            basis, _ = np.linalg.qr(symmetric @ basis)
        left, values, _ = np.linalg.svd((symmetric @ basis).T, full_matrices=False)
        kept = values[:dim] > RANK * values[0]
        vectors: NDArray[np.float64] = (basis @ left)[:, :dim][:, kept] * np.sqrt(values[:dim][kept])
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return vectors * np.where(largest < 0, -1.0, 1.0)
