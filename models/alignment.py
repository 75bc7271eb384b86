"""Two views of one moment meet: contrastive projection heads over frame features, and over sound.

A segment is a run of frames of one clip; a view of it is what of its frames is seen: another crop, mirrored or not,
every frame of a part or every second of all (speed), or its sound (modality). With e_i, e_i' the unit vectors of two
views of segment i out of N, and t a temperature,

    NT-Xent = mean over all 2N views of -log( exp(e_i . e_i' / t) / sum over the 2N - 1 others of exp(e_i . e_j / t) )

after Chen, Kornblith, Norouzi and Hinton, A simple framework for contrastive learning of visual representations, ICML
2020; InfoNCE is van den Oord, Li and Vinyals, Representation learning with contrastive predictive coding, 2018; speed
as a view Jenni and Jin, Time-equivariant contrastive video representation learning, ICCV 2021. Sound against frames is
the same loss over the segments that have sound.

The vector is  W mean(z) + V g(z),  z the frames' principal components, W starting as the identity and V at zero: before
training it is the mean of the frames' features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import keras, repeatable
from models.checkpoint import Checkpoint
from models.components import PARTS, Components, Features, fit_components, unit
from models.learning import digest_of, train, trained_on
from models.network_state import RepeatableModel, named_weights, set_named_weights
from models.params import AlignmentParams
from models.weights import WEIGHTS, load_arrays, load_config, save_weights

NAME = "alignment"
FAR_BELOW = -1e9
VALID_DRAWS = 8

ops = keras.ops
layers = keras.layers

Rng = np.random.Generator


@dataclass(frozen=True)
class Views:
    """One clip, looked at in several ways.

    Attributes:
        frames: `[views, n, features]`; the first view is of whole frames, the others of crops.
        sound: `[n, bands]`; None where there is none.
    """

    frames: Features
    sound: Features | None

    @property
    def n(self) -> int:
        """Frames."""
        return int(self.frames.shape[1])


@dataclass(frozen=True)
class Segments:
    """Segments that do not overlap, each seen twice.

    Attributes:
        first, second: `[segments, length, features]`.
        sound: `[segments, 2 * length, bands]`; of those without sound zeros.
        has_sound: `[segments]`, 1 or 0.
    """

    first: Features
    second: Features
    sound: Features
    has_sound: Features


class Alignment:
    """A clip as the unit vector in which views of one moment lie close; `models.encoders.protocol.Encoder` of them."""

    licence = "Apache-2.0"

    def __init__(self, params: AlignmentParams) -> None:
        self.params = params
        self.components: Components
        self._bands = 0
        self._network: Any = None

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.params.dim

    @property
    def digest(self) -> str:
        """SHA-256 over parameters and weights."""
        return digest_of(NAME, self.params, self._arrays())

    def fit(
        self, train_on: Sequence[Views], valid: Sequence[Views], *, seed: int, checkpoint: Checkpoint | None = None
    ) -> dict[str, Any]:
        """Learn from clips without labels; stop by `valid`.

        Returns:
            Device, software, epochs and the best one; 0 when no epoch was better than the features themselves.

        Raises:
            Diverged: loss or weights left the finite numbers.
            ValueError: no clip is as long as a segment, or there are too few frames for the components.
        """
        self.start_from(train_on, seed=seed)
        judged = [self._draw(valid, np.random.default_rng([seed, 0, at])) for at in range(VALID_DRAWS)]
        cut = self._draw(train_on, np.random.default_rng(seed))
        progress = train(
            self._network,
            lambda rng: self._inputs(self._epoch(train_on, rng)),
            lambda: float(np.mean([self._loss(segments) for segments in judged])),
            params=self.params,
            batch_size=len(cut.first),
            seed=seed,
            checkpoint=checkpoint,
        )
        return trained_on(progress)

    def start_from(self, clips: Sequence[Views], *, seed: int) -> None:
        """The space of `clips` and untrained heads: with frames, the mean of their components."""
        repeatable(seed)
        self.components = fit_components(
            np.concatenate([view for clip in clips for view in clip.frames]), dim=self.params.dim
        )
        self._bands = next((clip.sound.shape[1] for clip in clips if clip.sound is not None), 1)
        self._build()

    def embed(self, frames: Features) -> Features:
        """`[segments, dim]` of unit length from `[segments, length, features]`."""
        return np.asarray(self._network.of_frames(self.components.points(frames)))

    def embed_sound(self, sound: Features) -> Features:
        """`[segments, dim]` of unit length from `[segments, length, bands]`, to be held against `embed`."""
        return np.asarray(self._network.of_sound(sound))

    def encode(self, batch: Sequence[Features]) -> Features:
        """`[n, dim]` of unit length: the mean of a video's segments, each of `[frames, features]`.

        Raises:
            ValueError: a video has no frames.
        """
        if any(not len(frames) for frames in batch):
            raise ValueError("A video must have a frame. Received: one without")
        return np.stack([self._encoded(frames) for frames in batch])

    def _encoded(self, frames: Features) -> Features:
        """Segment by segment, each alone, so that no vector depends on what else is asked for."""
        length = self.params.length
        starts = range(0, max(len(frames) - length, 0) + 1, length)
        vectors = [self.embed(frames[at : at + length][None])[0] for at in starts]
        return unit(np.mean(vectors, axis=0))

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = {"params": self.params.model_dump(mode="json"), "bands": self._bands}
        save_weights(folder, recommender=NAME, arrays=self._arrays(), config=config)

    @classmethod
    def load(cls, folder: Path) -> "Alignment":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=NAME)
        loaded = cls(AlignmentParams.model_validate(config["params"]))
        loaded._bands = config["bands"]
        loaded._build()
        arrays = load_arrays(folder / WEIGHTS, names=[*(weight.path for weight in loaded._network.weights), *PARTS])
        loaded.components = Components(**{name: arrays[name] for name in PARTS})
        set_named_weights(loaded._network, arrays)
        return loaded

    def _build(self) -> None:
        self._network = Network(self.params, bands=self._bands)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return named_weights(self._network) | self.components.arrays()

    def _epoch(self, clips: Sequence[Views], rng: Rng) -> Segments:
        """Several cuts of all clips, one after another: a batch is one cut, in which no two segments overlap."""
        return joined([self._draw(clips, rng) for _ in range(self.params.cuts)])

    def _draw(self, clips: Sequence[Views], rng: Rng) -> Segments:
        return draw_segments(clips, length=self.params.length, bands=self._bands, rng=rng)

    def _inputs(self, segments: Segments) -> dict[str, NDArray[Any]]:
        return {
            "first": self.components.points(segments.first),
            "second": self.components.points(segments.second),
            "sound": segments.sound,
            "has_sound": segments.has_sound,
        }

    def _loss(self, segments: Segments) -> float:
        inputs = self._inputs(segments)
        return float(self._network.compute_loss(x=inputs, y_pred=self._network(inputs)))


class Network(RepeatableModel):
    """Inputs as `Alignment._inputs` gives them; outputs `first`, `second`, `sound`: unit vectors `[batch, dim]`."""

    def __init__(self, params: AlignmentParams, *, bands: int) -> None:
        super().__init__(name=NAME)
        self.temperature, self.sound_weight = params.temperature, params.sound_weight
        dim = params.dim
        self.straight = layers.Dense(dim, use_bias=False, kernel_initializer="identity", name="straight")
        self.widen = layers.Dense(params.hidden, activation="gelu", name="widen")
        self.narrow = layers.Dense(dim, use_bias=False, kernel_initializer="zeros", name="narrow")
        self.noise = layers.GaussianNoise(params.noise, name="noise")
        self.dropout = layers.Dropout(params.dropout, name="dropout")
        self.loudness = layers.LayerNormalization(name="loudness")
        self.hear = layers.Dense(params.hidden, activation="gelu", name="hear")
        self.tell = layers.Dense(dim, name="tell")
        blank = np.zeros((1, 1, dim), np.float32)
        self({"first": blank, "second": blank, "sound": np.zeros((1, 1, bands), np.float32)})

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        told = {name: self.of_frames(inputs[name], training=training) for name in ("first", "second")}
        return told | {"sound": self.of_sound(inputs["sound"], training=training)}

    def of_frames(self, points: Any, training: bool = False) -> Any:
        """`[batch, length, dim]` to unit vectors `[batch, dim]`."""
        points = self.noise(points, training=training)
        seen = self.dropout(self.widen(points), training=training)
        return _unit(self.straight(ops.mean(points, axis=1)) + self.narrow(ops.mean(seen, axis=1)))

    def of_sound(self, sound: Any, training: bool = False) -> Any:
        """`[batch, length, bands]` to unit vectors `[batch, dim]`."""
        heard = self.dropout(self.hear(self.loudness(sound)), training=training)
        return _unit(self.tell(ops.mean(heard, axis=1)))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """NT-Xent of both views, and of frames and sound where there is sound: a float32 scalar."""
        seen = nt_xent(y_pred["first"], y_pred["second"], ops.ones_like(x["has_sound"]), self.temperature)
        heard = nt_xent(y_pred["first"], y_pred["sound"], x["has_sound"], self.temperature)
        return seen + self.sound_weight * heard


def nt_xent(first: Any, second: Any, counted: Any, temperature: float) -> Any:
    """The loss of unit vectors `first` and `second` `[n, dim]`: a scalar.

    Args:
        counted: `[n]`, 1 or 0; rows of 0 are neither pairs nor negatives, and with all 0 the loss is 0.
        temperature: divides cosines.
    """
    views = ops.concatenate([first, second])
    n = views.shape[0] if views.shape[0] is not None else ops.shape(views)[0]
    is_counted = ops.concatenate([counted, counted])
    left_out = ops.eye(n, dtype=views.dtype) + (1 - is_counted)[None, :]
    cosines = ops.matmul(views, ops.transpose(views)) / temperature
    logits = ops.where(left_out > 0, FAR_BELOW, cosines)
    own = ops.sum(first * second, axis=-1) / temperature
    losses = ops.logsumexp(logits, axis=-1) - ops.concatenate([own, own])
    return ops.sum(losses * is_counted) / ops.maximum(ops.sum(is_counted), 1.0)


def draw_segments(clips: Sequence[Views], *, length: int, bands: int, rng: Rng) -> Segments:
    """All clips cut into segments of `2 * length` frames from a drawn frame on, each seen twice, by `length` frames.

    The clips decide how many segments there are, and not the draw: a batch is one cut, and batches have one shape. A
    segment's two views are two different crops where there are several; each is every frame of one of its halves, or
    every second frame of all of it.

    Raises:
        ValueError: no clip is as long as a segment.
    """
    drawn: list[tuple[Features, Features, Features, float]] = []
    for clip in clips:
        if clip.n < 2 * length:
            continue
        count = max((clip.n - length) // (2 * length), 1)
        begin = int(rng.integers(clip.n - count * 2 * length + 1))
        for at in range(begin, begin + count * 2 * length, 2 * length):
            crops = rng.permutation(len(clip.frames))[[0, -1]]
            first, second = (clip.frames[view, at + drawn_frames(length, rng)] for view in crops)
            silent = np.zeros((2 * length, bands), np.float32)
            sound = silent if clip.sound is None else clip.sound[at : at + 2 * length]
            drawn.append((first, second, sound, float(clip.sound is not None)))
    if not drawn:
        raise ValueError(f"A clip must have {2 * length} frames or more. Received: {[clip.n for clip in clips]}")
    order = rng.permutation(len(drawn))
    first, second, sound, has = (np.array([row[part] for row in drawn], np.float32)[order] for part in range(4))
    return Segments(first, second, sound, has)


def drawn_frames(length: int, rng: Rng) -> NDArray[np.int64]:
    """`[length]` of `2 * length` frames: the first or second half, or every second one."""
    return [np.arange(length), np.arange(length) + length, np.arange(length) * 2, np.arange(length) * 2 + 1][
        int(rng.integers(4))
    ]


def joined(parts: Sequence[Segments]) -> Segments:
    """All segments of `parts`, one part after the other."""
    names = ("first", "second", "sound", "has_sound")
    return Segments(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Retrieval:
    """How well views find each other: the share of first places, and the mean of 1 / rank; over `queries` queries."""

    recall_at_1: float
    mrr: float
    queries: int


def retrieval(first: Features, second: Features) -> Retrieval:
    """Each of `first` `[n, dim]` looks for its own among `second` `[n, dim]` by cosine, and the other way round.

    Equal cosines count against the right one.
    """
    cosines = unit(first) @ unit(second).T
    own = np.diag(cosines)
    beaten = [(told >= own[:, None]).sum(axis=1) for told in (cosines, cosines.T)]
    ranks = np.maximum(np.concatenate(beaten), 1)
    return Retrieval(float(np.mean(ranks == 1)), float(np.mean(1 / ranks)), len(ranks))


def _unit(vectors: Any) -> Any:
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-12))
