"""Which candidates nobody beats: quality against what it costs."""

import numpy as np
from numpy.typing import NDArray


def pareto_front(quality: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`[n]`: whether no other row is at least as good in everything and better in something.

    Args:
        quality: `[n]`, the higher the better.
        costs: `[n, kinds]`, the lower the better.
    """
    figures = np.column_stack([-quality, costs])
    no_worse = (figures[:, None] <= figures[None]).all(axis=-1)
    better = (figures[:, None] < figures[None]).any(axis=-1)
    return np.array(~(no_worse & better).any(axis=0), np.bool_)
