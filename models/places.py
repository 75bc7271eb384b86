"""Regions by hour as a ranker looks them up: by the hash of a region's name, and a moment."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.region_graph import HOUR_MS, HOURS


@dataclass(frozen=True)
class Places:
    """Vectors of regions by hour.

    Attributes:
        codes: `[regions]` int32, ascending: as `models.sequences.Sequences.contexts` has them.
        vectors: `[regions, 24, dim]` float32.
    """

    codes: NDArray[np.int32]
    vectors: NDArray[np.float32]

    @classmethod
    def none(cls) -> "Places":
        """Of a source without regions."""
        return cls(np.zeros(0, np.int32), np.zeros((0, HOURS, 0), np.float32))

    @classmethod
    def of(cls, codes: NDArray[np.int32], vectors: NDArray[np.float32]) -> "Places":
        """From the vectors `[24 * regions, dim]` of a `models.region_graph.RegionGraph`, whose regions have `codes`."""
        order = np.argsort(codes)
        return cls(codes[order], vectors.reshape(len(codes), HOURS, vectors.shape[1])[order])

    def vectors_of(self, codes: NDArray[np.int32], times: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[n, dim]` of regions `codes` `[n]` at `times` `[n]`, milliseconds UTC; zeros where a region is not known."""
        n, (regions, _, dim) = len(codes), self.vectors.shape
        if not regions:
            return np.zeros((n, dim), np.float32)
        at = np.minimum(np.searchsorted(self.codes, codes), regions - 1)
        known = self.codes[at] == codes
        found: NDArray[np.float32] = np.where(known[:, None], self.vectors[at, times // HOUR_MS % HOURS], np.float32(0))
        return found
