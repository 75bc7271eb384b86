"""One kind of content, encoded for a whole catalogue."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Modality:
    """One kind of content, encoded.

    Attributes:
        vectors: `[videos, dim]` float32, NaN rows where a video lacks it.
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
