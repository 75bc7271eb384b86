"""One modality's vectors, moved to where models expect numbers to lie: about zero, of length about one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.video_content import VideoContent
from models.weights import Arrays

Table = NDArray[np.float32]
Rows = NDArray[np.integer]


@dataclass(frozen=True)
class Modality:
    """Where one modality's vectors lie: what is learnt of them before anything else is.

    Attributes:
        mean: `[dim]` float32 of the training videos, subtracted: sentence encoders put all texts into one narrow cone.
        spread: root mean square length of what is left, in the encoder's units; 0 where nothing is left.
    """

    mean: Table
    spread: np.float32

    @classmethod
    def of(cls, content: VideoContent, name: str, *, watched: Rows, centre: bool = True) -> "Modality":
        """Of the modality `name`, from the rows `watched` `[n]` that have it; there may be none."""
        vectors = content.vectors[name][watched]
        vectors = vectors[~np.isnan(vectors[:, 0])]
        count = max(len(vectors), 1)
        mean = vectors.sum(axis=0, dtype=np.float64) / count * centre
        square = np.einsum("vd,vd->", vectors, vectors, dtype=np.float64) / count - mean @ mean
        return cls(mean.astype(np.float32), np.float32(np.sqrt(max(square, 0.0))))

    def read(self, table: Table, rows: Rows, *, unit: bool) -> tuple[Table, NDArray[np.bool_]]:
        """Centred vectors of `rows` `[n]` of `table`, and which of them there are.

        Returns:
            `[n, dim]` of length 1 each (`unit`), or of mean square length 1 over the training videos; zeros where the
            modality is absent. And `[n, 1]`, whether it is present. A row's bits depend on that row alone.
        """
        vectors = np.ascontiguousarray(table[rows], np.float32)
        present = ~np.isnan(vectors[:, :1])
        moved = np.where(present, vectors, self.mean) - self.mean
        length = np.sqrt((moved * moved).sum(axis=1, keepdims=True)) if unit else np.full((1, 1), self.spread)
        length[length == 0] = 1
        return moved / length, present


def modality_arrays(modalities: Mapping[str, Modality]) -> Arrays:
    """`modalities` by name as arrays to be saved, called as `modality_names` says."""
    arrays: Arrays = {}
    for name, modality in modalities.items():
        arrays |= {f"{name}/mean": modality.mean, f"{name}/spread": np.array([modality.spread])}
    return arrays


def modality_names(modalities: Iterable[str]) -> list[str]:
    """The names of the arrays in which `modalities` are saved."""
    return [f"{name}/{part}" for name in modalities for part in ("mean", "spread")]


def modalities_of(arrays: Arrays) -> dict[str, Modality]:
    """The modalities whose `modality_arrays` are among `arrays`, by name, in alphabetical order."""
    names = sorted(name.removesuffix("/mean") for name in arrays if name.endswith("/mean"))
    return {name: Modality(arrays[f"{name}/mean"], arrays[f"{name}/spread"][0]) for name in names}
