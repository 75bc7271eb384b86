"""Tags from content vectors: by likeness to the tags' own names, or learnt from videos that have a category."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.params import TagsParams
from models.video_content import VideoContent
from models.weights import WEIGHTS, Arrays, load_arrays, load_config, save_weights

NAME = "tags"
MOST_STEPS = 300

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def zero_shot(videos: VideoContent, label_vectors: Floats, *, modality: str = "text", temperature: float) -> Floats:
    """Softmax over the cosines of each video's vector with each label's name; nothing is learnt.

    Both sides are centred first: what all texts share would otherwise leave the cosines too close to tell apart.

    Args:
        videos: with a modality of the space that the labels were encoded in.
        label_vectors: `[labels, dim]`.
        modality: which one.
        temperature: smaller is surer.

    Returns:
        `[videos, labels]` scores that sum to 1; NaN in the rows of videos without the modality.
    """
    present = videos.present(modality)
    scores = np.full((len(present), len(label_vectors)), np.nan, np.float32)
    vectors = videos.vectors[modality][present].astype(np.float64)
    if len(vectors) and len(label_vectors):
        cosines = _unit(vectors - vectors.mean(axis=0)) @ _unit(label_vectors - label_vectors.mean(axis=0)).T
        scores[present] = _softmax(cosines / temperature)
    return scores


@dataclass(frozen=True)
class FineTuned:
    """Multinomial logistic regression on all modalities side by side; an absent one is zeros beside a 0.

    Attributes:
        labels: what may be said of a video, sorted.
        encoders: by modality the SHA-256 of the encoder whose vectors are understood.
        arrays: `kernel` `[features, labels]`, `bias` `[labels]`, and by modality `mean/...` and `scale/...`.
    """

    labels: tuple[str, ...]
    encoders: Mapping[str, str]
    arrays: Arrays

    @classmethod
    def fit(
        cls, videos: VideoContent, rows: NDArray[np.int64], categories: Sequence[str], *, params: TagsParams
    ) -> "FineTuned":
        """Learn from `rows` of `videos`, whose `categories` are known. Nothing in it is drawn: no seed.

        Args:
            videos: content vectors.
            rows: `[n]` videos that have some modality.
            categories: `[n]`.
            params: `l2` and `balance` are heeded.

        Raises:
            ValueError: there are fewer than two categories.
        """
        labels, of = np.unique(np.array(categories, dtype=object), return_inverse=True)
        if len(labels) < 2:
            raise ValueError(f"A tagger learns from two categories or more. Received: {list(labels)}")
        arrays = _scaling(videos, rows)
        features = _features(videos, rows, arrays)
        weights = (len(of) / len(labels) / np.bincount(of)) ** params.balance
        kernel, bias = _logistic(features, of, weights[of] / weights[of].sum(), l2=params.l2)
        arrays |= {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
        return cls(tuple(labels), dict(videos.encoders), arrays)

    def scores(self, videos: VideoContent) -> Floats:
        """`[videos, labels]` probabilities; NaN in the rows of videos without any modality.

        Raises:
            ValueError: the vectors are of other encoders than those learnt from.
        """
        if dict(videos.encoders) != dict(self.encoders):
            raise ValueError(f"The tagger learnt from vectors of {self.encoders}. Received: {dict(videos.encoders)}")
        rows = described(videos)
        scores = np.full((videos.n_videos, len(self.labels)), np.nan, np.float32)
        features = _features(videos, rows, self.arrays)
        scores[rows] = _softmax(features @ self.arrays["kernel"] + self.arrays["bias"])
        return scores

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`."""
        config = {"labels": list(self.labels), "encoders": dict(self.encoders)}
        save_weights(folder, recommender=NAME, arrays=self.arrays, config=config)

    @classmethod
    def load(cls, folder: Path) -> "FineTuned":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        config = load_config(folder, recommender=NAME)
        names = [f"{part}/{modality}" for modality in config["encoders"] for part in ("mean", "scale")]
        arrays = load_arrays(folder / WEIGHTS, names=["kernel", "bias", *names])
        return cls(tuple(config["labels"]), config["encoders"], arrays)


def described(videos: VideoContent) -> NDArray[np.int64]:
    """The videos that have some modality."""
    return np.flatnonzero(np.any([videos.present(name) for name in videos.vectors], axis=0)).astype(np.int64)


def _scaling(videos: VideoContent, rows: NDArray[np.int64]) -> Arrays:
    arrays: Arrays = {}
    for name in sorted(videos.vectors):
        known = videos.vectors[name][rows][videos.present(name)[rows]]
        if not len(known):
            known = np.zeros((1, videos.vectors[name].shape[1]), np.float32)
        # one scale for all components: those that vary little say little
        arrays[f"mean/{name}"] = known.mean(axis=0)
        arrays[f"scale/{name}"] = np.array([max(float(np.std(known - known.mean(axis=0))), 1e-6)], np.float32)
    return arrays


def _features(videos: VideoContent, rows: NDArray[np.int64], arrays: Arrays) -> Doubles:
    """`[n, features]`: by modality its scaled vector and whether it is there."""
    parts = []
    for name in sorted(videos.vectors):
        there = videos.present(name)[rows][:, None]
        scaled = (videos.filled(name)[rows] - arrays[f"mean/{name}"]) / arrays[f"scale/{name}"]
        parts.append(np.where(there, scaled, 0))
        parts.append(there)
    return np.concatenate(parts, axis=1).astype(np.float64)


def _logistic(features: Doubles, of: NDArray[np.int64], weights: Doubles, *, l2: float) -> tuple[Doubles, Doubles]:
    """Kernel `[features, labels]` and bias `[labels]` that minimise weighted cross-entropy + l2/2 |kernel|^2."""
    from scipy.optimize import minimize

    n, width = features.shape
    n_labels = int(of.max()) + 1
    truth = np.zeros((n, n_labels))
    truth[np.arange(n), of] = 1

    def loss(flat: Doubles) -> tuple[float, Doubles]:
        kernel, bias = flat[: width * n_labels].reshape(width, n_labels), flat[width * n_labels :]
        guess = _softmax(features @ kernel + bias)
        misfit = -weights @ np.log(np.maximum(guess[np.arange(n), of], 1e-300))
        slope = (guess - truth) * weights[:, None]
        down = np.concatenate([(features.T @ slope + l2 * kernel).ravel(), slope.sum(axis=0)])
        return float(misfit + l2 / 2 * np.sum(np.square(kernel))), down

    start = np.zeros((width + 1) * n_labels)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS}).x
    return found[: width * n_labels].reshape(width, n_labels), found[width * n_labels :]


def _unit(rows: NDArray[np.floating]) -> Doubles:
    wide = rows.astype(np.float64)
    unit: Doubles = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit


def _softmax(logits: Doubles) -> Doubles:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Doubles = powers / powers.sum(axis=1, keepdims=True)
    return shares
