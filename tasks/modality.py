"""One kind of content, encoded for a whole catalogue."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# So many videos' vectors are in memory at once.
VIDEOS_A_BLOCK = 4096


@dataclass(frozen=True)
class Modality:
    """One kind of content, encoded.

    Attributes:
        vectors: `[videos, dim]` float32, memory-mapped, NaN rows where a video lacks it.
        encoder: SHA-256 of all that made it.
        licence: of its weights.
        made: how many contents were encoded now; the others were found.
    """

    vectors: NDArray[np.float32]
    encoder: str
    licence: str
    made: int

    def facts(self) -> dict[str, Any]:
        """What `encoded.json` says of it."""
        videos = int((~np.isnan(self.vectors[:, 0])).sum())
        return {"dim": self.vectors.shape[1], "encoder": self.encoder, "licence": self.licence, "videos": videos}


def left(
    path: Path, n: int, dim: int, block: Callable[[NDArray[np.int64]], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """`[n, dim]`, memory-mapped: what `block` gives for the videos it is asked for, written to `path` by and by."""
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n, VIDEOS_A_BLOCK):
            file.write(np.ascontiguousarray(block(np.arange(start, min(start + VIDEOS_A_BLOCK, n))), "<f4").tobytes())
    vectors: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return vectors
