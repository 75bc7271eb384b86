"""The next frame from those before: a GRU or an LSTM over frame features, learned without labels.

Two heads look at recurrent states after frame t. With z the frame's features in the space of the principal
components of the training frames, and c the centres of a codebook over it (`models.codebook`):

    regression   y = z_t + D h                                           trained by |y - z_(t+1)|^2
    softmax      p(code) ~ exp(-e^s |z_t + C g - c_code|^2 + b [code is z_t's])    by cross-entropy with z_(t+1)'s code

h is the state of a cell that reads z_t and the move z_t - z_(t-1), g that of one that reads the move alone. Where a
scene lies helps to say where it goes next, but only in scenes that training knew: with g the softmax holds for clips
it never saw, with h it did not (docs/content.md).

D and C start at zero and b at a code's log odds of staying in the training clips, so that the untrained network copies
the last frame, and training adds the change. The softmax asks for a place among the centres and not for a code by its
number: few clips teach no more than that.
What the cell reads is disturbed by noise in training: to a linear model that is ridge regression (Bishop, Training with
noise is equivalent to Tikhonov regularization, 1995), without which minutes of video are learned by heart.
Predicting features without labels follows Srivastava, Mansimov and Salakhutdinov, Unsupervised learning of video
representations using LSTMs, ICML 2015; the residual form Martinez, Black and Romero, On human motion prediction using
recurrent neural networks, CVPR 2017; the codebook Ranzato et al., Video (language) modeling, 2014.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, keras, repeatable
from models.checkpoint import Checkpoint
from models.codebook import fit_codebook, nearest_code
from models.components import PARTS, Components, Features, fit_components, unit
from models.learning import digest_of, shuffled, train, trained_on
from models.network_state import RepeatableModel, named_weights, set_named_weights
from models.params import FrameSequenceParams
from models.weights import WEIGHTS, load_arrays, load_config, save_weights

NAME = "frame-sequence"
WINDOWS_A_BATCH = 256

ops = keras.ops
layers = keras.layers


@dataclass(frozen=True)
class Prediction:
    """What is expected after each window.

    Attributes:
        points: `[windows, dim]` in the model's space.
        features: `[windows, features]`, as the last frame's unit features with the change of `points` added, so that
            what the components do not see is copied.
        probabilities: `[windows, codes]`, rows adding up to 1.
    """

    points: Features
    features: Features
    probabilities: Features


class FrameSequence:
    """Predicts the frame after a window. Also an encoder of sequences: `encode` gives a video's temporal vector."""

    licence = "Apache-2.0"

    def __init__(self, params: FrameSequenceParams) -> None:
        self.params = params
        self.components: Components
        self._network: Any = None

    @property
    def dim(self) -> int:
        """Length of what `encode` gives."""
        return self.params.units

    @property
    def digest(self) -> str:
        """SHA-256 over parameters and weights."""
        return digest_of(NAME, self.params, self._arrays())

    def fit(
        self,
        train_on: Sequence[Features],
        valid: Sequence[Features],
        *,
        seed: int,
        checkpoint: Checkpoint | None = None,
    ) -> dict[str, Any]:
        """Learn from the sequences `train_on`, each `[n, features]` at an even rate; stop by those of `valid`.

        Returns:
            Device, software, epochs and the best one; 0 when no epoch was better than copying the last frame.

        Raises:
            Diverged: loss or weights left the finite numbers.
            ValueError: no sequence is longer than a window, or there are too few frames for the space.
        """
        repeatable(seed)
        params = self.params
        frames = np.concatenate(train_on)
        self.components = fit_components(frames, dim=params.dim)
        self._build()
        self._network.centres.assign(fit_codebook(self.points(frames), size=params.codes, seed=seed))
        ours, theirs = (self._examples(part) for part in (train_on, valid))
        self._network.stillness.assign([self._log_odds_of_staying(ours)])
        progress = train(
            self._network,
            lambda rng: shuffled(ours, rng),
            lambda: self._loss(theirs),
            params=params,
            batch_size=params.batch_size,
            seed=seed,
            checkpoint=checkpoint,
        )
        return trained_on(progress)

    def points(self, features: Features) -> Features:
        """`[..., dim]`, where frames are predicted."""
        return self.components.points(features)

    def codes(self, points: Features) -> NDArray[np.int32]:
        """`[n]`: the code of each of `points` `[n, dim]`."""
        return nearest_code(points, array_of(self._network.centres))

    def predict(self, histories: Features) -> Prediction:
        """What follows `histories` `[windows, length, features]`, oldest first."""
        points = self.points(histories)
        states = self._states(points)
        moved = states["points"][:, -1]
        change = (moved - points[:, -1]) * self.components.scale @ self.components.axes.T
        return Prediction(
            moved, (unit(histories[:, -1]) + change).astype(np.float32), _softmax(states["logits"][:, -1])
        )

    def encode(self, batch: Sequence[Features]) -> Features:
        """`[n, units]` of unit length: the mean recurrent state over a video's frames `[frames, features]`.

        Raises:
            ValueError: a video has no frames.
        """
        if any(not len(frames) for frames in batch):
            raise ValueError("A sequence must hold a frame. Received: one of none")
        return np.stack([unit(self._mean_state(frames)) for frames in batch])

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = {"params": self.params.model_dump(mode="json"), "features": len(self.components.mean)}
        save_weights(folder, recommender=NAME, arrays=self._arrays(), config=config)

    @classmethod
    def load(cls, folder: Path) -> "FrameSequence":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=NAME)
        loaded = cls(FrameSequenceParams.model_validate(config["params"]))
        loaded._build()
        names = [weight.path for weight in loaded._network.weights]
        arrays = load_arrays(folder / WEIGHTS, names=[*names, *PARTS])
        loaded.components = Components(**{name: arrays[name] for name in PARTS})
        set_named_weights(loaded._network, arrays)
        return loaded

    def _build(self) -> None:
        self._network = Network(self.params)
        self._network(_blank(self.params))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return named_weights(self._network) | self.components.arrays()

    def _examples(self, sequences: Sequence[Features]) -> dict[str, NDArray[Any]]:
        """Windows one frame longer than what is looked at, and their codes."""
        whole = windows(sequences, length=self.params.window + 1, stride=self.params.stride)
        points = self.points(whole)
        codes = self.codes(points.reshape(-1, points.shape[-1])).reshape(points.shape[:2])
        return {
            "points": points[:, :-1],
            "next_points": points[:, 1:],
            "next_codes": codes[:, 1:],
        }

    def _log_odds_of_staying(self, examples: Mapping[str, NDArray[Any]]) -> float:
        """Of a code against each other one: from there the softmax begins as a copy too."""
        codes = self.codes(examples["points"][:, -1])
        stays = (np.sum(codes == examples["next_codes"][:, -1]) + 1) / (len(codes) + 2)
        return float(np.log(stays / (1 - stays) * (self.params.codes - 1)))

    def _states(self, points: Features) -> dict[str, Features]:
        """The network's outputs for `[windows, length, dim]`, in batches of one shape."""
        size = WINDOWS_A_BATCH
        found: dict[str, list[Features]] = {}
        for at in range(0, len(points), size):
            rows = points[at : at + size]
            batch = np.pad(rows, ((0, size - len(rows)), (0, 0), (0, 0)))
            told = self._network.predict_on_batch({"points": batch})
            for name, array in told.items():
                found.setdefault(name, []).append(np.asarray(array)[: len(rows)])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def _mean_state(self, frames: Features) -> Features:
        points = self.points(frames)
        # a short video begins by standing still, as every window does before its first frame is known
        filled = np.concatenate([np.repeat(points[:1], max(self.params.window - len(points), 0), axis=0), points])
        looked_at = np.lib.stride_tricks.sliding_window_view(filled, self.params.window, axis=0).transpose(0, 2, 1)
        mean: Features = self._states(np.ascontiguousarray(looked_at))["states"][:, -1].mean(axis=0)
        return mean

    def _loss(self, examples: Mapping[str, NDArray[Any]]) -> float:
        told = self._states(examples["points"])
        return float(_losses(told, examples, self.params.code_weight)[:, -1].mean())


class Network(RepeatableModel):
    """Inputs `points` `[batch, length, dim]`; outputs for each step of the window `points` `[batch, length, dim]`,
    `logits` `[batch, length, codes]` and `states` `[batch, length, units]`.
    """

    def __init__(self, params: FrameSequenceParams) -> None:
        super().__init__(name=NAME)
        self.code_weight = params.code_weight
        recurrent = {"gru": layers.GRU, "lstm": layers.LSTM}[params.cell]
        self.recurrent = recurrent(params.units, return_sequences=True, name="recurrent")
        self.moving = recurrent(params.units, return_sequences=True, name="moving")
        self.noise = layers.GaussianNoise(params.noise, name="noise")
        self.dropout = layers.Dropout(params.dropout, name="dropout")
        self.change = layers.Dense(params.dim, kernel_initializer="zeros", name="change")
        self.choice = layers.Dense(params.dim, kernel_initializer="zeros", name="choice")
        self.sharpness = self.add_weight(shape=(1,), initializer="zeros", name="sharpness")
        self.stillness = self.add_weight(shape=(1,), initializer="zeros", name="stillness")
        self.centres = self.add_weight(shape=(params.codes, params.dim), trainable=False, name="centres")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        points = inputs["points"]
        noisy = self.noise(points, training=training)
        moves = noisy - ops.concatenate([noisy[:, :1], noisy[:, :-1]], axis=1)
        states = self.recurrent(ops.concatenate([noisy, moves], axis=-1))
        kept, moved = (self.dropout(each, training=training) for each in (states, self.moving(moves)))
        now = self._nearness(points)
        stays = ops.one_hot(ops.argmax(now, axis=-1), now.shape[-1])
        logits = ops.exp(self.sharpness) * self._nearness(points + self.choice(moved)) + self.stillness * stays
        return {"points": points + self.change(kept), "logits": logits, "states": states}

    def _nearness(self, points: Any) -> Any:
        """`[batch, length, codes]`: minus the mean squared difference to each centre, less what all have in common."""
        products = 2 * ops.matmul(points, ops.transpose(self.centres))
        return (products - ops.sum(ops.square(self.centres), axis=-1)) / points.shape[-1]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Both heads' mean loss over all steps: a float32 scalar."""
        missed = ops.mean(ops.square(y_pred["points"] - x["next_points"]), axis=-1)
        guessed = keras.losses.sparse_categorical_crossentropy(x["next_codes"], y_pred["logits"], from_logits=True)
        return ops.mean(missed + self.code_weight * guessed)


def windows(sequences: Sequence[Features], *, length: int, stride: int) -> Features:
    """`[windows, length, features]`: every run of `length` frames, `stride` apart, within one sequence.

    Raises:
        ValueError: no sequence is that long.
    """
    span = (length - 1) * stride + 1
    cut = [
        np.lib.stride_tricks.sliding_window_view(frames, span, axis=0)[:, :, ::stride].transpose(0, 2, 1)
        for frames in sequences
        if len(frames) >= span
    ]
    if not cut:
        longest = max((len(frames) for frames in sequences), default=0)
        raise ValueError(f"A sequence must have {span} frames or more. Received: {longest} in the longest")
    return np.ascontiguousarray(np.concatenate(cut), np.float32)


def _blank(params: FrameSequenceParams) -> dict[str, Features]:
    return {
        "points": np.zeros((1, params.window, params.dim), np.float32),
    }


def _losses(told: Mapping[str, Features], examples: Mapping[str, NDArray[Any]], weight: float) -> NDArray[np.float64]:
    """`[windows, length]`, as `Network.compute_loss` before the mean."""
    missed = np.square(told["points"] - examples["next_points"], dtype=np.float64).mean(axis=-1)
    chances = _softmax(told["logits"].astype(np.float64))
    hit = np.take_along_axis(chances, examples["next_codes"][..., None].astype(np.int64), axis=-1)[..., 0]
    losses: NDArray[np.float64] = missed - weight * np.log(np.maximum(hit, np.finfo(np.float64).tiny))
    return losses


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    told: NDArray[Any] = raised / raised.sum(axis=-1, keepdims=True)
    return told
