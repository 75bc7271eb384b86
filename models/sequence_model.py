"""The recommender that all sequence models are: a network over windows of histories, trained epoch after epoch.

A viewer's vector is a hidden state of the network, a video's its row of the embedding that tokens are read with. One
file each, with its network and equation: `models.sasrec`, `models.gru4rec`, `models.bert4rec`.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.backend import (
    array_of,
    describe_device,
    grow_memory,
    keras,
    memory_exhaustion_diverges,
    repeatable,
    software,
)
from models.checkpoint import Checkpoint, training_key
from models.early_stopping import METRIC, EarlyStopping, judged_viewers, ndcg
from models.network_state import reseed, take_up, training_state, weights_of
from models.params import SequenceParams
from models.protocol import Diverged, Training
from models.ranking import top_k
from models.sequence_network import SequenceNetwork
from models.sequences import Sequences
from models.weights import WEIGHTS, Arrays, load_arrays, load_config, save_weights
from models.windows import Tokens, newest_window, pad_token, training_windows

# Two batch shapes serve all callers, one viewer and many, so that nothing is compiled for a third.
VIEWERS_A_BATCH = 256

Params = TypeVar("Params", bound=SequenceParams)
Examples = tuple[Tokens, Tokens]
Draw = Callable[[np.random.Generator], Examples]

log = logging.getLogger(__name__)


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
            self._compile()
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
        arrays = {weight.path: array_of(weight) for weight in self._network.weights}
        config = {"params": self.params.model_dump(mode="json"), "videos": self._n_videos}
        save_weights(folder, recommender=self.NAME, arrays=arrays, config=config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=cls.NAME)
        loaded = cls(cls.PARAMS.model_validate(config["params"]))
        loaded._build(config["videos"])
        paths = [weight.path for weight in loaded._network.weights]
        arrays = load_arrays(folder / WEIGHTS, names=paths)
        loaded._network.set_weights([arrays[path] for path in paths])
        return loaded

    def _build(self, n_videos: int) -> None:
        self._n_videos = n_videos
        self._network = self._new_network()
        self._network(np.zeros((1, self.params.max_length), np.int32))

    def _compile(self) -> None:
        adam = keras.optimizers.Adam(self.params.learning_rate)
        self._network.compile(optimizer=adam, jit_compile=self.params.jit_compile)
        self._network.optimizer.build(self._network.trainable_variables)

    def _train(self, data: Training) -> EarlyStopping:
        """Epoch after epoch, from the checkpoint on where there is one of this training."""
        stopping = EarlyStopping(self.params.patience)
        key = training_key(data, params=self.params.model_dump(mode="json"), software=software())
        checkpoint = Checkpoint(data.checkpoints, key)
        if kept := checkpoint.load():
            self._take_up(*kept, stopping)
        draw, judged = self._examples(data.train), judged_viewers(data)
        while len(stopping.epochs) < self.params.epochs and not stopping.stopped:
            epoch = len(stopping.epochs) + 1
            metrics = {"loss": self._epoch(draw, seed=data.seed, epoch=epoch)} | self._judge(data, judged)
            stopping.after_epoch(metrics, weights_of(self._network))
            checkpoint.save(*self._state(stopping))
            data.on_epoch(epoch, self.params.epochs, metrics)
        return stopping

    def _epoch(self, draw: Draw, *, seed: int, epoch: int) -> float:
        """One pass over all windows, whose draw and order `seed` and `epoch` decide; the mean loss."""
        reseed(self._network, seed=seed, epoch=epoch)
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
        loss = float(run.history["loss"][0])
        if not np.isfinite(loss) or not all(np.isfinite(weight).all() for weight in weights_of(self._network)):
            raise Diverged(f"loss or weights are not finite after epoch {epoch}: lower learning_rate")
        return loss

    def _judge(self, data: Training, viewers: NDArray[np.int64]) -> dict[str, float]:
        """The validation metric, where there is a validation set."""
        if not len(viewers):
            return {}
        seen = data.train.take(viewers)
        try:
            lists, _ = top_k(self.viewer_vectors(seen), self.video_vectors(), seen, 10)
        except ValueError as error:
            raise Diverged(f"{error}: lower learning_rate") from error
        return {METRIC: ndcg(lists, data.valid.take(viewers))}

    def _state(self, stopping: EarlyStopping) -> tuple[Arrays, dict[str, Any]]:
        return training_state(self._network, stopping.best), {
            "epochs": stopping.epochs,
            "best_epoch": stopping.best_epoch,
        }

    def _take_up(self, arrays: Arrays, facts: dict[str, Any], stopping: EarlyStopping) -> None:
        stopping.best = take_up(arrays, self._network)
        stopping.epochs, stopping.best_epoch = facts["epochs"], facts["best_epoch"]
        log.info("%s goes on after epoch %d, from its checkpoint", self.NAME, len(stopping.epochs))


def filled(rows: Tokens, size: int, *, value: int) -> Tokens:
    """`[size, length]`: `rows`, and rows of `value` below, so that batches have one shape and XLA compiles once."""
    return np.pad(rows, ((0, size - len(rows)), (0, 0)), constant_values=value)
