"""What sound is like: MSD_musicnn, tagged on the Million Song Dataset (Pons and Serra 2019, "musicnn: Pre-trained
convolutional neural networks for music audio tagging"). Architecture: Pons et al. 2018, "End-to-end learning for music
audio tagging at scale".

Its weights come with the package musicnn (ISC), as a TensorFlow 1 checkpoint: bare tensors, no pickle and no code.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import keras
from models.encoders.log_mel import BANDS, RATE, log_mel

DIM = 200
PATCH = 187  # frames, 3 s: what the weights were trained on
SHORTEST = 3 * RATE
PIECE = 4  # patches at a time
PREPROCESSING = "log-mel 16000/512/256/96 slaney, float32, 187 frames, mean over patches, 1"
WEIGHTS = {
    ".index": "87f3e0f3550c8d3bafc840374003e5c8af5eeb5ecf6add61af09a7822d3282c8",
    ".data-00000-of-00001": "8579734ee6388f799ed0def4bbd0d1fdcbeaf213ef2a9dc860917bd76a303de6",
}
MILLION_SONG_TAGS = (
    "rock|pop|alternative|indie|electronic|female vocalists|dance|00s|alternative rock|jazz|beautiful|metal|chillout|"
    "male vocalists|classic rock|soul|indie rock|Mellow|electronica|80s|folk|90s|chill|instrumental|punk|oldies|blues|"
    "hard rock|ambient|acoustic|experimental|female vocalist|guitar|Hip-Hop|70s|party|country|easy listening|sexy|"
    "catchy|funk|electro|heavy metal|Progressive rock|60s|rnb|indie pop|sad|House|happy"
)
TAGS = tuple(MILLION_SONG_TAGS.split("|"))


class SoundEncoder:
    """Vectors of sounds, and how well each of `TAGS` fits them. See `models.encoders.protocol.Encoder`."""

    dim = DIM
    licence = "ISC"
    digest = hashlib.sha256("\n".join([*WEIGHTS.values(), PREPROCESSING]).encode()).hexdigest()

    def __init__(self, model: Any) -> None:
        """`model`: patches `[n, 187, 96]` to features `[n, 200]` and tag scores `[n, 50]`; `open_sound_encoder`."""
        self._model = model

    def encode(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """`[n, 200]`: the penultimate layer's features of each sound, the mean over its patches of 3 s.

        Args:
            batch: sounds `[samples]` float32 in -1..1, mono, at 16 kHz. One of less than 3 s is repeated up to there;
                of a longer one, the rest behind its last whole patch is not listened to. Silence is a sound too.

        Raises:
            ValueError: a sound has no sample, or more than one channel.
        """
        return self.listen(batch)[0]

    def listen(self, batch: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The vectors of `encode`, and `[n, 50]` scores in 0..1 of `TAGS`, from one pass."""
        vectors, scores = np.empty((len(batch), DIM), np.float32), np.empty((len(batch), len(TAGS)), np.float32)
        for at, sound in enumerate(batch):
            vectors[at], scores[at] = self._hear(sound)
        return vectors, scores

    def _hear(self, sound: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # One sound at a time, in pieces of one shape, the last filled up with silence: matrix products add up in an
        # order that depends on how many rows there are, and a graph is traced anew for each shape.
        patches = patches_of(sound)
        whole = np.pad(patches, ((0, -len(patches) % PIECE), (0, 0), (0, 0)))
        heard = [self._model.predict_on_batch(whole[at : at + PIECE]) for at in range(0, len(whole), PIECE)]
        features, scores = (np.concatenate(parts)[: len(patches)].mean(axis=0) for parts in zip(*heard, strict=True))
        return features, scores


def patches_of(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[patches, 187, 96]`: the log-mel spectrogram of `sound`, repeated to 3 s where it is shorter, in 3 s patches."""
    if 0 < len(sound) < SHORTEST:
        sound = np.resize(sound, SHORTEST)  # repeats
    frames = log_mel(sound)
    patches = len(frames) // PATCH
    return frames[: patches * PATCH].reshape(patches, PATCH, BANDS)


def available() -> bool:
    """Whether the package that carries the weights is installed (`nightreel[media]`)."""
    return _package() is not None


def open_sound_encoder() -> SoundEncoder:
    """The encoder with the package's weights.

    Raises:
        ValueError: the package musicnn is not installed, or its weights are not those that were measured here.
    """
    package = _package()
    if package is None:
        raise ValueError("The sound encoder needs the package musicnn: install nightreel[media]")
    folder = package / "MSD_musicnn"
    for name, expected in WEIGHTS.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest() if (folder / name).is_file() else "no file"
        if found != expected:
            raise ValueError(f"MSD_musicnn/{name} must have the SHA-256 {expected}. Received: {found}")
    return SoundEncoder(_loaded(folder))


def _package() -> Path | None:
    # found, not imported: its own code needs librosa and the layers of TensorFlow 1
    spec = find_spec("musicnn")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def _loaded(folder: Path) -> Any:
    import tensorflow as tf

    # the files are called .index and .data: to load_checkpoint the prefix would be a folder, and it looks elsewhere
    reader = tf.compat.v1.train.NewCheckpointReader(f"{folder}/")
    model = _network()
    for layer in model.layers:
        layer.set_weights([reader.get_tensor(f"{layer.name}/{w.name}").reshape(w.shape) for w in layer.weights])
    model.jit_compile = False  # XLA takes twice the time here
    return model


def _network() -> Any:
    """The network without weights. Its layers bear the checkpoint's names; inference only, so no dropout."""
    patches = keras.Input((PATCH, BANDS))
    pixels = _normal(0)(keras.layers.Reshape((PATCH, BANDS, 1))(patches))
    padded = keras.layers.ZeroPadding2D(((3, 3), (0, 0)))(pixels)
    timbre = [_front(padded, 0, 204, (7, 38), "valid"), _front(padded, 1, 204, (7, 67), "valid")]
    rhythm = [_front(pixels, 2 + at, 51, (length, 1), "same") for at, length in enumerate((128, 64, 32))]
    front = keras.ops.concatenate(timbre + rhythm, axis=-1)
    first = _middle(front, 5)
    second = first + _middle(first, 6)
    third = second + _middle(second, 7)
    over_time = keras.ops.concatenate([front, first, second, third], axis=-1)
    pooled = keras.ops.stack([keras.ops.max(over_time, axis=1), keras.ops.mean(over_time, axis=1)], axis=-1)
    dense = keras.layers.Dense(DIM, activation="relu", name="dense")(_normal(9)(keras.layers.Flatten()(pooled)))
    features = _normal(10)(dense)
    return keras.Model(
        patches, [features, keras.layers.Dense(len(TAGS), activation="sigmoid", name="dense_1")(features)]
    )


def _front(pixels: Any, at: int, filters: int, kernel: tuple[int, int], padding: str) -> Any:
    """`[n, 187, filters]`: a filter over time and frequency, its strongest answer among frequencies."""
    convolution = keras.layers.Conv2D(filters, kernel, padding=padding, **_as_stored("conv2d", at))
    return keras.ops.max(_normal(at + 1)(convolution(pixels)), axis=2)


def _middle(features: Any, at: int) -> Any:
    # over all features at once: the checkpoint's 2D kernels are as wide as there are features
    convolution = keras.layers.Conv1D(64, 7, padding="same", **_as_stored("conv2d", at))
    return _normal(at + 1)(convolution(features))


def _normal(at: int) -> Any:
    return keras.layers.BatchNormalization(epsilon=1e-3, name=_numbered("batch_normalization", at))


def _as_stored(name: str, at: int, *, activation: str = "relu") -> dict[str, str]:
    # zeros, since they are replaced at once and any other start would draw from the process's random generators
    return {"name": _numbered(name, at), "activation": activation, "kernel_initializer": "zeros"}


def _numbered(name: str, at: int) -> str:
    return f"{name}_{at}" if at else name
