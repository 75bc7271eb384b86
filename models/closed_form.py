"""EASE's weights in closed form, in the memory of one dense square.

Steck, Embarrassingly shallow autoencoders for sparse data, WWW 2019: with `P = (X'X + l2 I)^-1` the weights are
`B_ij = -P_ij / P_jj` off the diagonal and 0 on it.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import lapack

from models.memory import available_bytes
from models.one_thread import one_blas_thread
from models.protocol import Diverged

# Rows of the dense matrix that are worked on at once; the matrix itself, 4 bytes times videos squared, is the peak.
ROWS = 256


def item_weights(watched: sp.csr_array, *, l2: float, neighbours: int) -> sp.csr_array:
    """`[videos, videos]` float32: in row `j` the `neighbours` entries of `B_.j` that are largest in absolute value.

    Args:
        watched: `X`, `[viewers, videos]` float32.

    Raises:
        Diverged: there is not the memory for it, or the matrix is not positive definite in float32.
    """
    _refuse_what_does_not_fit(watched.shape[1], neighbours)
    return strongest_weights(inverse_of(gram(watched, l2)), neighbours)


def needed_bytes(n_videos: int, neighbours: int) -> int:
    """What `item_weights` takes at its peak: the square, what is kept of it (indices twice), and a block of rows."""
    return 4 * n_videos**2 + 16 * n_videos * min(neighbours, n_videos) + 24 * n_videos * min(ROWS, n_videos)


def _refuse_what_does_not_fit(n_videos: int, neighbours: int) -> None:
    needed, available = needed_bytes(n_videos, neighbours), available_bytes()
    if needed > available:
        raise Diverged(
            f"it needs {needed / 1e9:.3g} GB of memory for the square of {n_videos:,} videos, and "
            f"{available / 1e9:.3g} GB are available: learn from fewer videos, or leave it out"
        )


def gram(watched: sp.csr_array, l2: float) -> NDArray[np.float32]:
    """`X'X + l2 I`, `[videos, videos]` float32, never held twice."""
    n_videos = watched.shape[1]
    viewers_of = watched.T.tocsr()
    dense = np.empty((n_videos, n_videos), np.float32)
    for start in range(0, n_videos, ROWS):
        dense[start : start + ROWS] = (viewers_of[start : start + ROWS] @ watched).toarray()
    dense.flat[:: n_videos + 1] += l2
    return dense


def inverse_of(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite `[n, n]` matrix, in the same memory: Cholesky, then `potri`.

    Raises:
        Diverged: the matrix is not positive definite in float32.
    """
    # LAPACK counts in columns: to it, the transposed view of a row-ordered array is the array itself.
    with one_blas_thread():
        factor, failed = lapack.spotrf(matrix.T, lower=True, clean=False, overwrite_a=True)
        inverse, _ = lapack.spotri(factor, lower=True, overwrite_c=True)
    symmetric: NDArray[np.float32] = inverse.T
    if failed or not (symmetric.diagonal() > 0).all():
        raise Diverged("its matrix is not positive definite in float32: raise l2")
    _mirror(symmetric)
    return symmetric


def _mirror(upper: NDArray[np.float32]) -> None:
    """Copy the upper triangle over the lower one, in place; column after column, so that no copy is made."""
    for start in range(0, len(upper), ROWS):
        stop = start + ROWS
        corner = np.triu(upper[start:stop, start:stop])
        upper[start:stop, start:stop] = corner + np.triu(corner, 1).T
        upper[stop:, start:stop] = upper[start:stop, stop:].T


def strongest_weights(inverse: NDArray[np.float32], neighbours: int) -> sp.csr_array:
    """`[videos, videos]` float32: in row `j` the `neighbours` entries of `B_.j` that are largest in absolute value."""
    n_videos = len(inverse)
    keep = min(neighbours, n_videos - 1)
    sources = np.empty((n_videos, keep), np.int32)
    for start in range(0, n_videos, ROWS):
        strength = np.abs(inverse[start : start + ROWS])
        strength[np.arange(len(strength)), np.arange(start, start + len(strength))] = -1
        ordered = np.argpartition(strength, min(n_videos - keep, n_videos - 1), axis=1)
        sources[start : start + ROWS] = np.sort(ordered[:, n_videos - keep :], axis=1)
    weights = -np.take_along_axis(inverse, sources, axis=1) / np.diag(inverse)[:, None]
    offsets = np.arange(n_videos + 1, dtype=np.int32) * keep
    return sp.csr_array((weights.ravel(), sources.ravel(), offsets), shape=inverse.shape)
