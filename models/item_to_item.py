"""What the item-to-item models share: a sparse table of weights between videos, and histories as points in its space.

The space has one axis a video. A viewer's vector has an entry for each video watched, a video's vector holds the
weights by which watched videos speak for it, so their dot product is the model's score.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.decay import decay
from models.params import EaseParams, ItemKnnParams
from models.protocol import Training
from models.sequences import Sequences
from models.sparse import csr_arrays, load_csr
from models.weights import WEIGHTS, load_config, save_weights


class ItemToItem(ABC):
    """A `models.protocol.Recommender` whose `_table_of` a model fills in.

    Attributes:
        name: under which it is saved.
        params_type: class of its parameters.
    """

    name: ClassVar[str]
    params_type: ClassVar[type[EaseParams] | type[ItemKnnParams]]

    def __init__(self, params: EaseParams | ItemKnnParams) -> None:
        self.params = params
        self._table: sp.csr_array = sp.csr_array(np.zeros((0, 0), np.float32))

    @abstractmethod
    def _table_of(self, watched: sp.csr_array) -> sp.csr_array:
        """`[videos, videos]` float32, row `j` the weights by which videos speak for `j`, from `[viewers, videos]`."""

    def fit(self, data: Training) -> dict[str, Any]:
        """Learn the table from training and validation histories: nothing here is stopped early."""
        history = data.history()
        fresh = decay(data.now - history.times, half_life_days=self.params.half_life_days)
        self._table = self._table_of(watched_matrix(history, fresh * history.weights, n_videos=data.n_videos))
        return {"device": "cpu", "weights_kept": int(self._table.nnz)}

    def viewer_vectors(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, videos]` float32: the videos watched, decayed like the training input.

        Ages count from each viewer's own newest event: that scales a viewer's whole vector and changes no ranking,
        and a viewer who comes back after years does not underflow to nothing.
        """
        newest = np.zeros(histories.n_viewers, np.int64)
        viewers = histories.viewer_of_event()
        np.maximum.at(newest, viewers, histories.times)
        fresh = decay(newest[viewers] - histories.times, half_life_days=self.params.half_life_days)
        return watched_matrix(histories, fresh * histories.weights, n_videos=self._table.shape[0])

    def video_vectors(self) -> sp.csr_array:
        """`[videos, videos]` float32, the table."""
        return self._table

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = self.params.model_dump(mode="json")
        save_weights(folder, recommender=self.name, arrays=csr_arrays(self._table), config=config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        loaded = cls(cls.params_type.model_validate(load_config(folder, recommender=cls.name)))
        loaded._table = load_csr(folder / WEIGHTS)
        return loaded


def watched_matrix(history: Sequences, strengths: NDArray[np.float64], *, n_videos: int) -> sp.csr_array:
    """`[viewers, n_videos]` float32: who watched what; of several events of one pair the strongest counts.

    Args:
        strengths: `[events]`, what each event of `history` counts.
    """
    keys = history.viewer_of_event() * n_videos + history.videos
    pairs, pair_of_event = np.unique(keys, return_inverse=True)
    strongest = np.zeros(len(pairs))
    np.maximum.at(strongest, pair_of_event, strengths)
    viewers, videos = np.divmod(pairs, n_videos)
    offsets = np.searchsorted(viewers, np.arange(history.n_viewers + 1))
    arrays = (strongest.astype(np.float32), videos.astype(np.int32), offsets.astype(np.int32))
    return sp.csr_array(arrays, shape=(history.n_viewers, n_videos))
