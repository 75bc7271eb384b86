"""Sparse matrices as named arrays, to be saved as safetensors."""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from models.weights import Arrays, load_arrays

NAMES = ("shape", "indptr", "indices", "data")


def csr_arrays(matrix: sp.csr_array) -> Arrays:
    """The arrays that `matrix` consists of, by name."""
    return {
        "shape": np.array(matrix.shape, np.int64),
        "indptr": matrix.indptr,
        "indices": matrix.indices,
        "data": matrix.data,
    }


def load_csr(path: Path) -> sp.csr_array:
    """The matrix whose `csr_arrays` were saved at `path`. Raises `ValueError` when it is not one."""
    return csr_of(load_arrays(path, names=NAMES))


def csr_of(arrays: Arrays) -> sp.csr_array:
    """The matrix whose `csr_arrays` these are. Raises `ValueError` when they do not fit each other."""
    rows, columns = arrays["shape"].tolist()
    matrix = sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(rows, columns))
    matrix.check_format(full_check=True)
    return matrix
