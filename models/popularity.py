"""Popularity: everybody is shown what has been watched most, recent events counting more."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decay import decay
from models.params import PopularityParams
from models.protocol import Training
from models.sequences import Sequences
from models.weights import WEIGHTS, load_arrays, load_config, save_weights

NAME = "popularity"


class Popularity:
    """One axis: a video's vector is its decayed count, every viewer's is 1. A `models.protocol.Recommender`."""

    def __init__(self, params: PopularityParams) -> None:
        self.params = params
        self._counts = np.zeros(0, np.float32)

    def fit(self, data: Training) -> dict[str, Any]:
        """Count each video's events in training and validation histories, weighted by strength and freshness."""
        history = data.history()
        fresh = decay(data.now - history.times, half_life_days=self.params.half_life_days)
        counts = np.bincount(history.videos, weights=fresh * history.weights, minlength=data.n_videos)
        self._counts = counts.astype(np.float32)
        return {"device": "cpu"}

    def viewer_vectors(self, histories: Sequences) -> NDArray[np.float32]:
        """`[viewers, 1]` ones: the list is the same for all."""
        return np.ones((histories.n_viewers, 1), np.float32)

    def video_vectors(self) -> NDArray[np.float32]:
        """`[videos, 1]` decayed counts."""
        return self._counts[:, None]

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        arrays = {"counts": self._counts}
        save_weights(folder, recommender=NAME, arrays=arrays, config=self.params.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path) -> "Popularity":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        loaded = cls(PopularityParams.model_validate(load_config(folder, recommender=NAME)))
        loaded._counts = load_arrays(folder / WEIGHTS, names=["counts"])["counts"]
        return loaded
