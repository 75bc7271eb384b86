"""What is known of videos by what they show and say: a table of vectors for each modality."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoContent:
    """Vectors of a catalogue: the vocabulary's videos first, in its order, then those that nobody has watched yet.

    Attributes:
        vectors: by modality `[videos, dim]` float32; the rows of videos that lack the modality are NaN, so that
            nobody takes them for data.
        encoders: by modality the SHA-256 of the encoders and weights that made it.
    """

    vectors: Mapping[str, NDArray[np.float32]]
    encoders: Mapping[str, str]

    def __post_init__(self) -> None:
        if len({len(table) for table in self.vectors.values()}) > 1 or self.vectors.keys() != self.encoders.keys():
            shapes = {name: table.shape for name, table in self.vectors.items()}
            raise ValueError(f"Modalities must be of the same videos and each name its encoder. Received: {shapes}")

    @property
    def n_videos(self) -> int:
        """Videos, those without any modality included; 0 when there is no modality."""
        return next((len(table) for table in self.vectors.values()), 0)

    def present(self, modality: str) -> NDArray[np.bool_]:
        """`[videos]`: who has the modality."""
        return ~np.isnan(self.vectors[modality][:, 0])

    def filled(self, modality: str) -> NDArray[np.float32]:
        """`[videos, dim]` with zeros in the rows that `present` masks."""
        table = self.vectors[modality]
        return np.where(self.present(modality)[:, None], table, np.float32(0))
