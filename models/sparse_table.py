"""What the models share whose video vectors are one sparse table: how they learn it and how they are saved."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from models.params import HistoryParams
from models.protocol import Training
from models.sequences import Sequences
from models.sparse import csr_arrays, load_csr
from models.watched import watched_by, watched_until
from models.weights import WEIGHTS, load_config, save_weights


class SparseTable(ABC):
    """A `models.protocol.Recommender` whose `_table_of` and `viewer_vectors` a model fills in.

    Attributes:
        name: under which it is saved.
        params_type: class of its parameters.
        sums_over_videos: whether axis `a` stands for the watched video `a` modulo the number of videos.
    """

    name: ClassVar[str]
    params_type: ClassVar[type[HistoryParams]]
    sums_over_videos: ClassVar[bool] = False

    def __init__(self, params: HistoryParams) -> None:
        self.params = params
        self._table: sp.csr_array = sp.csr_array(np.zeros((0, 0), np.float32))

    @abstractmethod
    def _table_of(self, watched: sp.csr_array, history: Sequences) -> sp.csr_array:
        """`[videos, d]` float32, from `[viewers, videos]`, who watched what, decayed, and from `history`, in order."""

    @abstractmethod
    def viewer_vectors(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, d]` float32."""

    def fit(self, data: Training) -> dict[str, Any]:
        """Learn the table from training and validation histories: nothing here is stopped early.

        Raises:
            Diverged: the table cannot be computed, or not in the memory that there is.
        """
        history = data.history()
        half_life = self.params.half_life_days
        watched = watched_until(history, data.now, n_videos=data.n_videos, half_life_days=half_life)
        self._adopt(self._table_of(watched, history))
        return {"device": "cpu", "weights_kept": int(self._table.nnz)}

    def video_vectors(self) -> sp.csr_array:
        """`[videos, d]` float32, the table."""
        return self._table

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = self.params.model_dump(mode="json")
        save_weights(folder, recommender=self.name, arrays=csr_arrays(self._table), config=config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        loaded = cls(cls.params_type.model_validate(load_config(folder, recommender=cls.name)))
        loaded._adopt(load_csr(folder / WEIGHTS))
        return loaded

    def _adopt(self, table: sp.csr_array) -> None:
        """Take the table that was learnt or read; a model extends this by what it derives from it."""
        self._table = table

    def _watched(self, histories: Sequences) -> sp.csr_array:
        """`[viewers, videos]` float32: the videos watched, decayed."""
        return watched_by(histories, n_videos=self._table.shape[0], half_life_days=self.params.half_life_days)
