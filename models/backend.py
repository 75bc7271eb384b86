"""Keras and what differs between its backends: quiet start, determinism, device, running out of memory.

Import Keras from here: the backend reads its environment once, when it is first imported.
"""

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.protocol import Diverged

EXHAUSTED = re.compile("resource_?exhausted", re.IGNORECASE)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Nothing from C++ reaches the terminal: while it loads, TensorFlow heeds no log level (tensorflow#100442)."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with _silent_stderr():
    import keras

__all__ = [
    "array_of",
    "describe_device",
    "grow_memory",
    "keras",
    "memory_exhaustion_diverges",
    "repeatable",
    "software",
]


def repeatable(seed: int) -> None:
    """Seed every generator of the process, and have TensorFlow refuse operations that differ from run to run.

    To be called before a network is built.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def grow_memory() -> None:
    """Take GPU memory as it is needed rather than all at the start; nothing on a CPU.

    Raises:
        RuntimeError: TensorFlow has already started its GPUs with the other setting.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    else:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def describe_device() -> str:
    """The device that trains, in words: `cpu (x86_64)` or a GPU's name."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        details = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
        if details:
            return ", ".join(details)
    elif gpus := [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]:
        return ", ".join(gpus)
    return f"cpu ({platform.machine()})"


def array_of(variable: Any) -> NDArray[Any]:
    """A copy of what `variable` holds. Keras's own `numpy()` asks NumPy 2 for it in a deprecated way."""
    return np.array(np.asarray(variable))


def software() -> str:
    """Keras, its backend and their versions: a training is bit-exact within one such set."""
    name = keras.backend.backend()
    return f"keras {keras.__version__}, {name} {version(name)}"


@contextmanager
def memory_exhaustion_diverges() -> Iterator[None]:
    """Turn a device or a machine that runs out of memory into `Diverged`, the failure of one candidate."""
    try:
        yield
    except (RuntimeError, MemoryError, _tensorflow_error()) as error:
        if not isinstance(error, MemoryError) and not EXHAUSTED.search(f"{type(error).__name__}: {error}"):
            raise
        raise Diverged(f"{describe_device()} ran out of memory: lower batch_size, or set negatives") from error


def _tensorflow_error() -> type[Exception]:
    """The base of TensorFlow's errors; JAX's are `RuntimeError`s already."""
    if keras.backend.backend() != "tensorflow":
        return RuntimeError
    import tensorflow as tf

    base: type[Exception] = tf.errors.OpError
    return base
