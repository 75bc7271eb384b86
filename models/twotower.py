"""Two-tower recommender (`models.two_towers`): a new video is ranked by its content, an old one by its id as well."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.backend import (
    array_of,
    describe_device,
    grow_memory,
    memory_exhaustion_diverges,
    repeatable,
    software,
)
from models.batches import VIEWERS_A_BATCH, filled
from models.checkpoint import training_key
from models.decay import DAY_MS
from models.early_stopping import EarlyStopping, validation_metric
from models.embedded import Embedded, content_of
from models.modality import Modality, Rows, Table, modalities_of, modality_arrays, modality_names
from models.network_state import compile_with_adam, named_weights, set_named_weights
from models.params import TwoTowerParams
from models.protocol import Training
from models.recent import CONTEXT, Recent, shuffled_ties
from models.sequences import Sequences
from models.stopped_training import train_until_stopped
from models.two_towers import NEVER, TwoTowers
from models.video_content import VideoContent
from models.weights import WEIGHTS, load_arrays, load_config, save_weights

NAME = "twotower"
TRAINED = "trained"

# One batch shape for all videos: a row's bits then depend on that row alone.
VIDEOS_A_BATCH = 1024

Batch = dict[str, NDArray[Any]]


class TwoTower(Embedded):
    """A viewer's vector and a video's are unit vectors, their score a cosine. A `models.protocol.Recommender`."""

    def __init__(self, params: TwoTowerParams) -> None:
        self.params = params
        self.encoders: dict[str, str] = {}
        self._modalities: dict[str, Modality] = {}
        self._trained = np.zeros(0, np.bool_)
        self._table = np.zeros((0, params.dim), np.float32)
        self._network: Any = None

    @property
    def dim(self) -> int:
        """Of the shared space."""
        return self.params.dim

    def fit(self, data: Training) -> dict[str, Any]:
        """Train on `data.train`, stop by `data.valid`, keep the best epoch's weights, and embed the catalogue.

        What an epoch draws depends on seed and epoch alone, so a training that goes on from its checkpoint ends in
        the same weights as one that was never stopped.

        Raises:
            Diverged: there is no content, loss or weights left the finite numbers, or memory ran out.
        """
        content = content_of(data, candidate=NAME)
        if self.params.gpu_memory_growth:
            grow_memory()
        with memory_exhaustion_diverges():
            repeatable(data.seed)
            self._look_at(data, content)
            self._build()
            compile_with_adam(
                self._network, learning_rate=self.params.learning_rate, jit_compile=self.params.jit_compile
            )
            stopping = self._train(data, content)
            self._network.set_weights(stopping.best)
            self._table = self.embed(content)
        trained_on = {"device": describe_device(), "software": software()}
        return trained_on | {"epochs": stopping.epochs, "best_epoch": stopping.best_epoch}

    def embed(self, content: VideoContent, *, rows: Rows | None = None) -> Table:
        """As `Embedded.embed`; videos beyond the vocabulary, and those never trained on, by content alone."""
        self._refuse_other_encoders(content)
        asked = np.arange(content.n_videos) if rows is None else rows
        vectors = np.empty((len(asked), self.dim), np.float32)
        for start in range(0, len(asked), VIDEOS_A_BATCH):
            block = asked[start : start + VIDEOS_A_BATCH]
            made = self._network.videos(self._video_inputs(content, np.resize(block, VIDEOS_A_BATCH)))
            vectors[start : start + len(block)] = array_of(made)[: len(block)]
        return vectors

    def viewer_vectors(self, histories: Sequences) -> Table:
        """`[viewers, dim]` from each viewer's newest `max_length` events; an empty history has a vector too."""
        recent = Recent.of_all(histories, length=self.params.max_length)
        told = self._viewer_inputs(recent, histories)
        there = recent.events >= 0
        videos = np.where(there, histories.videos[recent.events] if len(histories.videos) else 0, 0)
        size = 1 if histories.n_viewers == 1 else VIEWERS_A_BATCH
        vectors = np.empty((histories.n_viewers, self.dim), np.float32)
        for start in range(0, histories.n_viewers, size):
            block = slice(start, start + size)
            inputs = {"history": self._table[videos[block]] * there[block, :, None]}
            inputs |= {name: array[block] for name, array in told.items()}
            made = self._network.viewers({name: filled(array, size) for name, array in inputs.items()})
            vectors[block] = array_of(made)[: len(vectors[block])]
        return vectors

    def save_towers(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        arrays = named_weights(self._network) | modality_arrays(self._modalities) | {TRAINED: self._trained}
        dims = {name: len(modality.mean) for name, modality in self._modalities.items()}
        config = {"params": self.params.model_dump(mode="json"), "videos": self.n_videos, "dims": dims}
        save_weights(folder, recommender=NAME, arrays=arrays, config=config | {"encoders": self.encoders})

    @classmethod
    def load_towers(cls, folder: Path) -> Self:
        """Read what `save_towers` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=NAME)
        loaded = cls(TwoTowerParams.model_validate(config["params"]))
        loaded.n_videos, loaded.encoders = config["videos"], config["encoders"]
        loaded._modalities = {name: Modality(np.zeros(n), np.float32(1)) for name, n in config["dims"].items()}
        loaded._build()
        paths = [weight.path for weight in loaded._network.weights]
        named = modality_names(loaded.encoders)
        arrays = load_arrays(folder / WEIGHTS, names=[*paths, *named, TRAINED])
        set_named_weights(loaded._network, arrays)
        loaded._modalities = modalities_of({name: arrays[name] for name in named})
        loaded._trained = arrays[TRAINED]
        return loaded

    def _look_at(self, data: Training, content: VideoContent) -> None:
        """Note what is fixed before the first step: the vocabulary, its modalities, which videos will be trained on."""
        self.n_videos = data.n_videos
        self.encoders = dict(sorted(content.encoders.items()))
        watched = np.unique(data.train.videos)
        self._modalities = {name: Modality.of(content, name, watched=watched) for name in self.encoders}
        self._trained = np.zeros(data.n_videos, np.bool_)
        self._trained[watched] = True

    def _build(self) -> None:
        dims = {name: len(modality.mean) for name, modality in self._modalities.items()}
        self._network = TwoTowers(self.params, self.n_videos, dims)
        videos: Batch = {"ids": np.zeros(1, np.int32)}
        for name, dim in dims.items():
            videos |= {name: np.zeros((1, dim), np.float32), f"has_{name}": np.ones((1, 1), np.bool_)}
        length, told = self.params.max_length, {"context": np.zeros((1, CONTEXT), np.float32)}
        told |= {"freshness": np.zeros((1, length), np.float32)}
        self._network.viewers(told | {"history": np.zeros((1, length, self.dim), np.float32)})
        targets = {"target": np.zeros(1, np.int32), "log_popularity": np.zeros(1, np.float32)}
        targets |= {"weight": np.ones(1, np.float32), "history": np.zeros((1, length), np.int32)}
        self._network(videos | told | targets)

    def _video_inputs(self, content: VideoContent, rows: Rows) -> Batch:
        """What the video tower reads of `rows` `[n]` of the catalogue."""
        known = np.zeros(len(rows), np.bool_)
        known[rows < self.n_videos] = self._trained[rows[rows < self.n_videos]]
        inputs: Batch = {"ids": np.where(known, rows, self.n_videos).astype(np.int32)}
        for name, modality in self._modalities.items():
            vectors, present = modality.read(content.vectors[name], rows, unit=False)
            inputs |= {name: vectors * np.float32(np.sqrt(vectors.shape[1])), f"has_{name}": present}
        return inputs

    def _viewer_inputs(self, recent: Recent, histories: Sequences) -> Batch:
        """What the viewer tower reads beside the videos."""
        freshness = np.zeros(recent.events.shape)
        if self.params.half_life_days is not None:
            freshness = recent.ages(histories.times) * (np.log(0.5) / (self.params.half_life_days * DAY_MS))
        told = np.where(recent.events < 0, NEVER, freshness).astype(np.float32)
        return {"freshness": told, "context": recent.context(histories.times)}

    def _train(self, data: Training, content: VideoContent) -> EarlyStopping:
        return train_until_stopped(
            self._network,
            data,
            limits=self.params,
            key=self._key(data, content),
            name=NAME,
            epoch=lambda epoch: self._epoch(data, content, epoch),
            judge=lambda viewers: self._judge(data, content, viewers),
        )

    def _epoch(self, data: Training, content: VideoContent, epoch: int) -> float:
        """One pass over all events in an order that seed and epoch decide; the mean loss."""
        total, weight = 0.0, 1e-9
        for batch in self._batches(data, content, epoch):
            weight += float(batch["weight"].sum())
            total += float(self._network.train_on_batch(batch, batch["weight"])) * float(batch["weight"].sum())
        return total / weight

    def _batches(self, data: Training, content: VideoContent, epoch: int) -> Iterator[Batch]:
        """Every event once, as what comes after those before it; all batches of one shape."""
        train = shuffled_ties(data.train, seed=[data.seed, epoch, 0])
        order = np.random.default_rng([data.seed, epoch, 1]).permutation(len(train.videos))
        popularity = np.bincount(train.videos, minlength=self.n_videos) / max(len(order), 1)
        size = self.params.batch_size
        rows = min(self.n_videos, size * (self.params.max_length + 1))
        every = self._video_inputs(content, np.arange(rows)) if rows == self.n_videos else None
        for start in range(0, len(order), size):
            targets = order[start : start + size]
            recent = Recent.before(train, targets, length=self.params.max_length)
            watched = np.where(recent.events < 0, train.videos[targets, None], train.videos[recent.events])
            told = self._viewer_inputs(recent, train) | {"log_popularity": _log(popularity[train.videos[targets]])}
            told |= {"weight": train.weights[targets], "history": watched, "target": train.videos[targets]}
            videos = every
            if videos is None:
                present, at = np.unique(np.append(watched, told["target"]), return_inverse=True)
                told |= {"history": at[: watched.size].reshape(watched.shape), "target": at[watched.size :]}
                videos = self._video_inputs(content, filled(present, rows))
            told |= {name: told[name].astype(np.int32) for name in ("history", "target")}
            yield videos | {name: filled(array, size) for name, array in told.items()}

    def _judge(self, data: Training, content: VideoContent, viewers: NDArray[np.int64]) -> dict[str, float]:
        """The validation metric, where there is a validation set, by the vocabulary as it is embedded now."""
        if len(viewers):
            self._table = self.embed(content, rows=np.arange(self.n_videos))
        return validation_metric(self, data, viewers)

    def _key(self, data: Training, content: VideoContent) -> str:
        """Of everything that decides the weights: times and content too."""
        digest = hashlib.sha256(np.ascontiguousarray(data.train.times).tobytes())
        digest.update(np.ascontiguousarray(data.train.weights).tobytes())
        for name in self.encoders:
            digest.update(np.ascontiguousarray(content.vectors[name][: self.n_videos]).tobytes())
        params = self.params.model_dump(mode="json") | {"encoders": self.encoders, "content": digest.hexdigest()}
        return training_key(data, params=params, software=software())


def _log(popularity: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.log(popularity).astype(np.float32)
