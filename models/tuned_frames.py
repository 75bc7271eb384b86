"""A frame encoder as `models.tuning` trains it, and the `.keras` file that it is written to.

Batch normalisation keeps the statistics that it came with: those of a few videos say less than those of a million
pictures, and a batch that normalised itself would give a frame another vector than the encoder does.
"""

import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import keras
from models.components import unit
from models.encoders.efficientnet_lite import SIDE
from models.encoders.frames import LITE0, FrameEncoder, open_frame_encoder
from models.network_state import RepeatableModel
from models.tuning import Inputs, Material, Rows, Tuned, Vectors, unit_length

FILE = "encoder.keras"

Read = Callable[[int], NDArray[np.uint8]]

ops = keras.ops
layers = keras.layers


class Films(Material):
    """Pictures of videos and what encodes them. A video's vector is the mean of its pictures', of unit length.

    Args:
        encoder: of `model`.
        model: as `models.encoders.frames.open_frame_encoder` takes it.
        read: the pictures of the video of a row, `[pictures, height, width, 3]` uint8 RGB, all of one shape. They are
            asked for whenever they are looked at: all of a catalogue's fit no memory.
        n: videos.
        drawn: how many of a video's pictures a step looks at, at most.
    """

    judged = 4

    def __init__(self, encoder: FrameEncoder, model: str, read: Read, *, n: int, drawn: int) -> None:
        super().__init__(n, encoder.dim)
        shapes = {read(row).shape for row in range(n)}
        if len(shapes) > 1 or any(not shape[0] for shape in shapes):
            raise ValueError(f"All videos must have as many pictures, of one size. Received: {sorted(shapes)}")
        self._encoder = encoder
        self._model = model
        self._read = read
        self._drawn = drawn

    def _encode(self, rows: Rows) -> Vectors:
        return np.stack([unit(self._encoder.encode(self._read(row)).mean(axis=0)) for row in rows])

    def body(self, *, layers: int | None) -> "FrameBody":
        """See `Material.body`; `layers` are those with weights (`weighted_layers`)."""
        network = open_network(self._model)
        thaw(network, layers=layers)
        return FrameBody(network)

    def inputs(self, rows: Rows, rng: np.random.Generator | None = None) -> Inputs:
        """`pictures` `[rows, n, height, width, 3]` uint8: all of a video's, or `drawn` of them."""
        films = [self._read(row) for row in rows]
        if rng is not None:
            films = [film[np.sort(rng.permutation(len(film))[: self._drawn])] for film in films]
        return {"pictures": np.stack(films)}


class FrameBody(RepeatableModel):
    """Input `pictures` `[batch, n, height, width, 3]`; output the mean of their vectors, brought to unit length."""

    def __init__(self, network: Any) -> None:
        super().__init__(name="frames")
        self.network = network
        self.side = tuple(network.input_shape[1:3])

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says; maps and tokens are averaged, and pictures resized, as the encoder does."""
        pictures = ops.cast(inputs["pictures"], "float32")
        n, shape = pictures.shape[1], pictures.shape[2:]
        flat = ops.reshape(pictures, (-1, *shape))
        if None not in self.side and self.side != tuple(shape[:2]):
            flat = ops.image.resize(flat, self.side, antialias=True, data_format="channels_last")
        made = self.network(flat, training=training)
        made = ops.mean(made, axis=tuple(range(1, len(made.shape) - 1))) if len(made.shape) > 2 else made
        return unit_length(ops.mean(ops.reshape(made, (-1, n, made.shape[-1])), axis=1))


def open_network(model: str) -> Any:
    """The network of an encoder, from RGB in 0..255 to vectors, tokens or maps: one that can be saved as it is.

    Args:
        model: `efficientnet-lite0`, or the path of a `.keras` or `.h5` file.

    Raises:
        ValueError: it is a folder, whose scaling is no part of the network; or `open_frame_encoder` refuses it.
    """
    if model != LITE0 and Path(model).is_dir():
        raise ValueError(f"A frame encoder that is tuned must be {LITE0} or one file. Received: {Path(model).name}")
    network = open_frame_encoder(model).network
    if model != LITE0:
        return network
    pictures = keras.Input((SIDE, SIDE, 3), name="pictures")
    # exact: all of it are multiples of 1/128 below 2
    scaled = layers.Rescaling(1 / 128, offset=-127 / 128, name="scaled")(pictures)
    return keras.Model(pictures, network(scaled), name="tuned_lite0")


def weighted_layers(network: Any) -> Iterator[Any]:
    """The layers of `network` that have weights, in order, with those of networks inside it."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from weighted_layers(layer)
        elif layer.weights:
            yield layer


def thaw(network: Any, *, layers: int | None) -> None:
    """Let the last `layers` layers with weights be trained and no other; all with None. Batch normalisation never is.

    Raises:
        ValueError: there are not so many.
    """
    release(network)
    every = list(weighted_layers(network))
    if layers is not None and not 1 <= layers <= len(every):
        raise ValueError(f"layers must lie in 1..{len(every)}. Received: layers={layers}")
    tuned = every if layers is None else every[-layers:]
    for layer in every:
        layer.trainable = layer in tuned
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False  # Keras then takes the kept statistics in training too


def release(network: Any) -> None:
    """Let every layer be trained. On TensorFlow, `network.trainable = True` reaches none where it is so already."""
    for layer in network._flatten_layers():
        layer.trainable = True


def save_frame_encoder(folder: Path, *, model: str, tuned: Tuned) -> Path:
    """Write the tuned network as a file that `models.encoders.frames.open_frame_encoder` opens, and return its path.

    Args:
        folder: of the file.
        model: that was tuned; its own network is written where `tuned` has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = open_network(model) if tuned.body is None else tuned.body.network
    release(network)  # what was held fast here is nothing that the next should know
    path = folder / FILE
    with warnings.catch_warnings():
        # Keras 3 asks NumPy 2 for a model's weights in a deprecated way
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        network.save(path)
    _forget_when(path)
    return path


def _forget_when(path: Path) -> None:
    """Take out of a `.keras` file when it was written, so that equal networks are equal bytes."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in sorted(archive.namelist())}
    told = json.loads(parts["metadata.json"])
    parts["metadata.json"] = json.dumps(told | {"date_saved": ""}, sort_keys=True).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)
