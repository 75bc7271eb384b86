"""Named features as the rows that a network reads: in one order, about zero, of deviation about one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]

FAR = 8.0  # deviations at which what lies far out is cut off


@dataclass(frozen=True)
class FeatureColumns:
    """What turns features by name into rows.

    Attributes:
        names: sorted.
        mean, deviation: `[columns]` float32.
    """

    names: list[str]
    mean: Table
    deviation: Table

    @classmethod
    def of(cls, features: Mapping[str, Table]) -> "FeatureColumns":
        """From training examples, `[rows]` by name; a feature that never changes keeps its scale."""
        names = sorted(features)
        means = [features[name].mean(dtype=np.float64) for name in names]
        deviations = np.array([features[name].std(dtype=np.float64) for name in names], np.float32)
        return cls(names, np.array(means, np.float32), np.where(deviations > 0, deviations, np.float32(1)))

    def rows(self, features: Mapping[str, Table]) -> Table:
        """`[rows, columns]` of `features` `[rows]` by name."""
        table = np.stack([features[name] for name in self.names], axis=1)
        clipped: Table = np.clip((table - self.mean) / self.deviation, -FAR, FAR)
        return clipped
