"""Pictures into vectors by an image network, and a video's vector from those of its frames."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, keras
from models.encoders import efficientnet_lite
from models.encoders.saved_model import load_backbone, load_saved_model

LITE0 = "efficientnet-lite0"
BATCH = 8
VERSION = "frames 1"  # goes up when preprocessing or pooling changes
STILL = 0.25  # seconds: frames that are nearer in time count as so far apart

Frames = NDArray[Any]


@dataclass(frozen=True)
class FrameEncoder:
    """An image network.

    Attributes:
        network: from `[BATCH, side, side, 3]` to vectors, tokens or maps.
        prepare: from frames as given to what `network` takes.
        dim, digest, licence: as in `models.encoders.protocol.Encoder`.
    """

    network: Any
    prepare: Callable[[Frames], NDArray[np.float32]]
    dim: int
    digest: str
    licence: str

    def encode(self, frames: Frames) -> NDArray[np.float32]:
        """Vectors `[n, dim]` of `frames` `[n, height, width, 3]`, RGB in 0..255.

        The network always sees `BATCH` frames, filled up with black ones: kernels are chosen by shape, and another
        batch size rounds differently.

        Raises:
            ValueError: `frames` are of another shape, or the network gives NaN or infinity.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(f"frames must be [n, height, width, 3]. Received: {list(frames.shape)}")
        vectors = np.empty((len(frames), self.dim), np.float32)
        for start in range(0, len(frames), BATCH):
            chunk = frames[start : start + BATCH]
            full = np.zeros((BATCH, *chunk.shape[1:]), chunk.dtype)
            full[: len(chunk)] = chunk
            output = np.asarray(self.network.predict_on_batch(self.prepare(full)))
            vectors[start : start + BATCH] = _flat(output)[: len(chunk)]
        if not np.isfinite(vectors).all():
            raise ValueError("the frame encoder gave NaN or infinity")
        return vectors


def open_frame_encoder(model: str) -> FrameEncoder:
    """The encoder that `params.yaml` names.

    Args:
        model: `efficientnet-lite0`; or the path of a `.keras` or `.h5` model or of a keras-hub folder. A model of a
            path gets RGB in 0..255 as float32, resized to its own side, so it scales by itself; a folder with an image
            converter has that do both. Outputs with tokens or a map are averaged over them.

    Raises:
        ValueError: the weights are missing, changed, unsafe or not those of an image network.
    """
    if model == LITE0:
        network = efficientnet_lite.build_lite0(efficientnet_lite.read_lite0())
        digest = sha256(f"{VERSION} {LITE0} {efficientnet_lite.SHA256}".encode()).hexdigest()
        return FrameEncoder(
            network, efficientnet_lite.preprocess, efficientnet_lite.DIM, digest, efficientnet_lite.LICENCE
        )
    path = Path(model)
    if not path.exists():
        raise ValueError(f"The frame encoder must be {LITE0} or a path that exists. Received: {model}")
    network, converter = load_backbone(path) if path.is_dir() else (load_saved_model(path), None)
    prepare = _Resize(_side(network, path.name)) if converter is None else _Convert(converter)
    digest = _digest(network, converter)
    return FrameEncoder(network, prepare, _dim(network, path.name), digest, "unknown")


def pool(features: NDArray[np.float32], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """One vector of a video from those of its frames: `[3 * dim]`.

    Three parts: the mean (what it mostly shows), the maximum (what it shows at some time), both of length 1; and how
    fast each feature changes, the mean of |difference| / seconds between neighbours, whose length
    r / (r + length of the mean) lies in 0..1. That part is not brought to length 1, or the noise of a still video would
    weigh as much as another's motion. One frame: its vector twice and zeros.

    Args:
        features: `[n, dim]`, n at least 1.
        times: `[n]` seconds, ascending.

    Raises:
        ValueError: there is no frame, or not one time for each.
    """
    if features.ndim != 2 or not len(features) or len(features) != len(times):
        raise ValueError(f"features must be [n, dim] with n times. Received: {list(features.shape)}, {len(times)}")
    wide = features.astype(np.float64)
    mean, most = wide.mean(axis=0), wide.max(axis=0)
    change = np.zeros_like(mean)
    if len(wide) > 1:
        apart = np.maximum(np.diff(times), STILL)
        change = (np.abs(np.diff(wide, axis=0)) / apart[:, None]).mean(axis=0)
    change /= max(float(np.linalg.norm(change) + np.linalg.norm(mean)), np.finfo(np.float64).tiny)
    return np.concatenate([_unit(mean), _unit(most), change]).astype(np.float32)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


class _Resize:
    """Frames as float32 in 0..255, brought to a network's side where they differ from it."""

    def __init__(self, side: tuple[int, int] | None) -> None:
        self._side = side

    def __call__(self, frames: Frames) -> NDArray[np.float32]:
        pictures = frames.astype(np.float32)
        if self._side in (None, frames.shape[1:3]):
            return pictures
        return np.asarray(keras.ops.image.resize(pictures, self._side, antialias=True, data_format="channels_last"))


class _Convert:
    """keras-hub's own scaling and resizing of pictures."""

    def __init__(self, converter: Any) -> None:
        self._converter = converter

    def __call__(self, frames: Frames) -> NDArray[np.float32]:
        return np.asarray(self._converter(frames.astype(np.float32)), np.float32)


def _side(network: Any, name: str) -> tuple[int, int] | None:
    """Height and width that the network wants; None where any will do."""
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(f"{name} must take pictures [n, height, width, 3]. Received: {shape}")
    return None if None in shape[1:3] else (shape[1], shape[2])


def _dim(network: Any, name: str) -> int:
    shape = network.output_shape
    if not isinstance(shape, tuple) or len(shape) not in (2, 3, 4) or shape[-1] is None:
        raise ValueError(f"{name} must give one [n, dim], [n, tokens, dim] or [n, h, w, dim]. Received: {shape}")
    return int(shape[-1])


def _flat(output: NDArray[np.float32]) -> NDArray[np.float32]:
    """The network's output as `[n, dim]`: averaged over space or tokens."""
    if output.ndim == 2:
        return output
    return np.asarray(output.reshape(len(output), -1, output.shape[-1]).mean(axis=1, dtype=np.float64), np.float32)


def _digest(network: Any, converter: Any) -> str:
    """Over architecture, weights and preprocessing. The bytes of a `.keras` file differ between equal models."""
    parts = [keras.saving.serialize_keras_object(part) for part in (network, converter) if part is not None]
    digest = sha256(f"{VERSION} {json.dumps(parts, sort_keys=True, default=str)}".encode())
    for variable in network.weights:
        array = array_of(variable)
        digest.update(f"{variable.path} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
