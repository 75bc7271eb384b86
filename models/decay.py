"""How much an old event still counts."""

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000


def decay(ages_ms: NDArray[np.int64], *, half_life_days: float | None) -> NDArray[np.float64]:
    """`[events]` float64, `0.5 ** (age / half_life_days)`; all ones when `half_life_days` is None.

    Args:
        ages_ms: `[events]` age of each event in milliseconds; an event of the future counts as new.
        half_life_days: days after which an event counts half.
    """
    if half_life_days is None:
        return np.ones(len(ages_ms))
    fresh: NDArray[np.float64] = 0.5 ** (np.maximum(ages_ms, 0) / (half_life_days * DAY_MS))
    return fresh
