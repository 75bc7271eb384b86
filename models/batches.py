"""Batches of one shape, so that nothing is compiled, or traced, for a second one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Two batch shapes serve all who ask for viewers: one viewer and many. A row's bits then depend on that row alone.
VIEWERS_A_BATCH = 256


def filled(rows: NDArray[Any], size: int, *, value: int = 0) -> NDArray[Any]:
    """`[size, ...]`: `rows`, and rows of `value` below."""
    return np.pad(rows, [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)], constant_values=value)
