"""Content alone: what is like the videos that a viewer has watched, by pretrained vectors of several modalities.

The mean of the similarities between one video and those watched is one dot product, as both kinds are linear in the
watched: `mean_w cos(w, v) = mean_w(w) . v` for unit vectors, and `-mean_w |w - v|^2 = 2 mean_w(w) . v - |v|^2` but
for what does not depend on `v`. No Keras: a refresh and a server need none for this candidate.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.decay import decay
from models.embedded import Embedded, content_of
from models.modality import Modality, Rows, Table, modalities_of, modality_arrays, modality_names
from models.params import ContentParams
from models.protocol import Diverged, Training
from models.sequences import Sequences
from models.video_content import VideoContent
from models.weights import WEIGHTS, load_arrays, load_config, save_weights

NAME = "content"

# Rows that are embedded at once: beyond the table itself, memory is flat in the catalogue's size.
ROWS_AT_ONCE = 8192


class ContentBased(Embedded):
    """Mean similarity to the watched videos, recent ones counting more.

    A video's vector is `[sqrt(w_m / W) x_m]` over its modalities `m`, `W` the weight of those it has: one it lacks
    neither lengthens nor shortens it. A video without any scores as an average one; so does all for a newcomer.
    """

    def __init__(self, params: ContentParams) -> None:
        self.params = params
        self.encoders: dict[str, str] = {}
        self._modalities: dict[str, Modality] = {}
        self._weights: dict[str, float] = {}
        self._table = np.zeros((0, 0), np.float32)

    @property
    def dim(self) -> int:
        """The modalities' dimensions together, and one more for Euclidean distance."""
        return sum(len(modality.mean) for modality in self._modalities.values()) + self._euclidean

    @property
    def _euclidean(self) -> bool:
        return self.params.similarity == "euclidean"

    def fit(self, data: Training) -> dict[str, Any]:
        """Learn the modalities' means and spreads from the videos of `data`'s histories; embed the catalogue.

        Raises:
            Diverged: there is no content, or no modality of it has a weight.
        """
        content = content_of(data, candidate=NAME)
        self.n_videos = data.n_videos
        self._weights = self._weights_of(content)
        self.encoders = {name: content.encoders[name] for name in self._weights}
        watched = np.unique(data.history().videos)
        self._modalities = {
            name: Modality.of(content, name, watched=watched, centre=self.params.centre) for name in self._weights
        }
        self._table = self.embed(content)
        return {"device": "cpu", "modalities": list(self._weights)}

    def embed(self, content: VideoContent, *, rows: Rows | None = None) -> Table:
        """As `Embedded.embed`; the vocabulary plays no part."""
        self._refuse_other_encoders(content)
        asked = np.arange(content.n_videos) if rows is None else rows
        vectors = np.empty((len(asked), self.dim), np.float32)
        for start in range(0, len(asked), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            vectors[block] = self._fused(content, asked[block])
        return vectors

    def viewer_vectors(self, histories: Sequences) -> Table:
        """`[viewers, dim]`: the decayed mean of what was watched; zeros where nothing is known."""
        ages = np.repeat(_newest(histories), histories.lengths) - histories.times
        counts = decay(ages, half_life_days=self.params.half_life_days) * histories.weights
        # What has no modality says nothing of its viewer, and must not pull the mean towards zero.
        known = np.any(self._table[:, : self.dim - self._euclidean] != 0, axis=1, keepdims=True)[:, 0]
        counts = counts * known[histories.videos]
        viewers = histories.viewer_of_event()
        total = np.bincount(viewers, weights=counts, minlength=histories.n_viewers)
        shares = (counts / np.where(total > 0, total, 1)[viewers]).astype(np.float32)
        shape = (histories.n_viewers, len(self._table))
        means = sp.csr_array((shares, histories.videos, histories.offsets), shape=shape) @ self._table
        if self._euclidean:
            means[:, :-1] *= 2
            means[:, -1] = total > 0
        return means

    def save_towers(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = {"params": self.params.model_dump(mode="json"), "videos": self.n_videos, "encoders": self.encoders}
        arrays = modality_arrays(self._modalities)
        save_weights(folder, recommender=NAME, arrays=arrays, config=config | {"weights": self._weights})

    @classmethod
    def load_towers(cls, folder: Path) -> Self:
        """Read what `save_towers` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=NAME)
        loaded = cls(ContentParams.model_validate(config["params"]))
        loaded.n_videos, loaded.encoders = config["videos"], config["encoders"]
        loaded._weights = config["weights"]
        loaded._modalities = modalities_of(load_arrays(folder / WEIGHTS, names=modality_names(loaded.encoders)))
        return loaded

    def _weights_of(self, content: VideoContent) -> dict[str, float]:
        """The weight of each modality that has one, by name; 1 where the parameters say nothing."""
        weights = {name: self.params.weights.get(name, 1.0) for name in sorted(content.vectors)}
        used = {name: weight for name, weight in weights.items() if weight > 0}
        if not used or self.params.weights.keys() - weights.keys():
            raise Diverged(
                f"weights must name modalities among {', '.join(weights)} and leave one above 0. "
                f"Received: {self.params.weights}"
            )
        return used

    def _fused(self, content: VideoContent, rows: Rows) -> Table:
        parts: list[Table] = []
        has: list[Table] = []
        for name, modality in self._modalities.items():
            vectors, present = modality.read(content.vectors[name], rows, unit=not self._euclidean)
            parts.append(vectors * np.float32(np.sqrt(self._weights[name])))
            has.append(present * np.float32(self._weights[name]))
        total: Table = np.concatenate(has, axis=1).sum(axis=1, keepdims=True)
        known = total > 0
        fused: Table = np.concatenate(parts, axis=1)
        fused /= np.sqrt(np.where(known, total, np.float32(1)))
        return self._with_square(fused, known=known) if self._euclidean else fused

    @staticmethod
    def _with_square(vectors: Table, *, known: NDArray[np.bool_]) -> Table:
        """`[n, dim + 1]`: minus the squared length beside each; 1, the mean over training, where nothing is known."""
        square = (vectors * vectors).sum(axis=1, keepdims=True)
        augmented: Table = np.concatenate([vectors, -np.where(known, square, np.float32(1))], axis=1)
        return augmented


def _newest(histories: Sequences) -> NDArray[np.int64]:
    """`[viewers]` time of each one's newest event; 0 for those without."""
    if not len(histories.times):
        return np.zeros(histories.n_viewers, np.int64)
    last = np.maximum(histories.offsets[1:] - 1, 0)
    return np.where(histories.lengths > 0, histories.times[last], 0)
