"""The recommender that all sequence models are: a network over windows of histories, trained epoch after epoch.

A viewer's vector is a hidden state of the network, a video's its row of the embedding that tokens are read with. One
file each, with its network and equation: `models.sasrec`, `models.gru4rec`, `models.bert4rec`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, describe_device, grow_memory, memory_exhaustion_diverges, repeatable, software
from models.batches import VIEWERS_A_BATCH, filled
from models.checkpoint import training_key
from models.early_stopping import EarlyStopping, validation_metric
from models.network_state import compile_with_adam, named_weights, set_named_weights
from models.params import SequenceParams
from models.protocol import Training
from models.sequence_network import SequenceNetwork
from models.sequences import Sequences
from models.stopped_training import train_until_stopped
from models.weights import WEIGHTS, load_arrays, load_config, save_weights
from models.windows import Tokens, newest_window, pad_token, training_windows

Params = TypeVar("Params", bound=SequenceParams)
Examples = tuple[Tokens, Tokens]
Draw = Callable[[np.random.Generator], Examples]


class SequenceModel(ABC, Generic[Params]):
    """A viewer's vector is the network's state after the newest event. A `models.protocol.Recommender`.

    As it stands, for networks in which no position sees a later one; others say what they learn and are asked instead.
    """

    NAME: ClassVar[str]
    PARAMS: ClassVar[Any]

    def __init__(self, params: Params) -> None:
        self.params = params
        self._n_videos = 0
        self._network: Any = None

    @abstractmethod
    def _new_network(self) -> SequenceNetwork:
        """The untrained network for `_n_videos`, under the name `NAME`."""

    def _examples(self, train: Sequences) -> Draw:
        """What draws an epoch's inputs and targets, both `[windows, max_length]`: next videos, the same each time."""
        windows = training_windows(train, length=self.params.max_length, n_videos=self._n_videos)
        return lambda rng: windows

    def _question(self, histories: Sequences) -> Tokens:
        """`[viewers, max_length]` tokens whose `_last_hidden` is the viewer's vector."""
        return newest_window(histories, length=self.params.max_length, n_videos=self._n_videos)

    def _last_hidden(self, states: NDArray[Any], tokens: Tokens) -> NDArray[Any]:
        """`[viewers, dim]` of `states` `[viewers, max_length, dim]`, where `tokens` ask."""
        return states[:, -1]

    def fit(self, data: Training) -> dict[str, Any]:
        """Train on `data.train`, stop by `data.valid`, and keep the best epoch's weights.

        What an epoch draws depends on seed and epoch alone, so a training that goes on from its checkpoint ends in
        the same weights as one that was never stopped.

        Raises:
            Diverged: loss or weights left the finite numbers, or memory ran out.
        """
        if self.params.gpu_memory_growth:
            grow_memory()
        with memory_exhaustion_diverges():
            repeatable(data.seed)
            self._build(data.n_videos)
            compile_with_adam(
                self._network, learning_rate=self.params.learning_rate, jit_compile=self.params.jit_compile
            )
            stopping = self._train(data)
            self._network.set_weights(stopping.best)
        trained_on = {"device": describe_device(), "software": software()}
        return trained_on | {"epochs": stopping.epochs, "best_epoch": stopping.best_epoch}

    def viewer_vectors(self, histories: Sequences) -> NDArray[np.float32]:
        """`[viewers, dim]` from each viewer's newest events; an empty history has a vector too."""
        tokens = self._question(histories)
        size = 1 if len(tokens) == 1 else VIEWERS_A_BATCH
        vectors = np.empty((len(tokens), self.params.dim), np.float32)
        for start in range(0, len(tokens), size):
            batch = tokens[start : start + size]
            states = self._network.predict_on_batch(filled(batch, size, value=pad_token(self._n_videos)))
            vectors[start : start + size] = self._last_hidden(states[: len(batch)], batch)
        return vectors

    def video_vectors(self) -> NDArray[np.float32]:
        """`[videos, dim]`, the embeddings that tokens are read with."""
        return array_of(self._network.embedding.embeddings)[: self._n_videos]

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = {"params": self.params.model_dump(mode="json"), "videos": self._n_videos}
        save_weights(folder, recommender=self.NAME, arrays=named_weights(self._network), config=config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=cls.NAME)
        loaded = cls(cls.PARAMS.model_validate(config["params"]))
        loaded._build(config["videos"])
        names = [weight.path for weight in loaded._network.weights]
        set_named_weights(loaded._network, load_arrays(folder / WEIGHTS, names=names))
        return loaded

    def _build(self, n_videos: int) -> None:
        self._n_videos = n_videos
        self._network = self._new_network()
        self._network(np.zeros((1, self.params.max_length), np.int32))

    def _train(self, data: Training) -> EarlyStopping:
        draw = self._examples(data.train)
        return train_until_stopped(
            self._network,
            data,
            limits=self.params,
            key=training_key(data, params=self.params.model_dump(mode="json"), software=software()),
            name=self.NAME,
            epoch=lambda epoch: self._epoch(draw, seed=data.seed, epoch=epoch),
            judge=lambda viewers: validation_metric(self, data, viewers),
        )

    def _epoch(self, draw: Draw, *, seed: int, epoch: int) -> float:
        """One pass over all windows, whose draw and order `seed` and `epoch` decide; the mean loss."""
        rng = np.random.default_rng([seed, epoch])
        inputs, targets = draw(rng)
        order = rng.permutation(len(inputs))
        size = self.params.batch_size
        whole = -(-len(inputs) // size) * size
        run = self._network.fit(
            filled(inputs[order], whole, value=pad_token(self._n_videos)),
            filled(targets[order], whole, value=-1),
            batch_size=size,
            shuffle=False,
            verbose=0,
        )
        return float(run.history["loss"][0])
