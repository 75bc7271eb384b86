"""Keras models that somebody brings: a `.keras` or `.h5` file, or a folder that keras-hub reads. No code in them runs.

Keras's safe mode refuses Lambda layers in `.keras` files. Legacy `.h5` files have a history of going round it
(CVE-2025-9905), so the layers that a model is made of are looked at here before Keras sees the file.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from models.backend import keras
from models.encoders.brought import loading, pickle_in

CODE = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
ROOMS = {"keras", "keras_hub", "builtins"}  # packages that a model's parts may come from
ZIP, HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


def load_saved_model(path: Path) -> Any:
    """The `keras.Model` saved at `path`, a file.

    Raises:
        ValueError: it is neither a `.keras` nor an `.h5` file, holds code (a Lambda layer, for one) or custom objects,
            or cannot be loaded.
    """
    config = _config(path)
    _refuse_code(config, path)
    with loading(f"{path.name} cannot be loaded by Keras"):
        return keras.saving.load_model(path, compile=False, safe_mode=True)


def load_backbone(folder: Path) -> tuple[Any, Any]:
    """The keras-hub backbone of `folder` and its image converter (None where the folder has none).

    Raises:
        ValueError: there is a pickle in it, a file is missing, it holds code, or keras-hub cannot load it.
    """
    if pickle := pickle_in(folder):
        raise ValueError(
            f"{folder.name} holds {pickle.name}, which may be a pickle; only safetensors and HDF5 are read"
        )
    for file in folder.rglob("*.json"):
        _refuse_code(_parsed(file.read_bytes(), file), file)
    try:
        import keras_hub
    except ImportError:
        raise ValueError(f"{folder.name}: a folder needs the extra `nightreel[text]`, which brings keras-hub") from None
    with loading(f"{folder.name} cannot be loaded by keras-hub"):
        backbone = keras_hub.models.Backbone.from_preset(str(folder))
    return backbone, _converter(keras_hub, folder)


def _converter(keras_hub: Any, folder: Path) -> Any:
    if not any((folder / name).exists() for name in ("image_converter.json", "preprocessor_config.json")):
        return None
    with loading(f"{folder.name} has an image converter that does not load"):
        return keras_hub.layers.ImageConverter.from_preset(str(folder))


def _config(path: Path) -> Any:
    """The architecture of the model in the file, as JSON."""
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"A saved model must be a .keras or .h5 file, or a keras-hub folder. Received: {path.name}")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if path.suffix == ".keras" and start.startswith(ZIP):
            with zipfile.ZipFile(path) as archive:
                return _parsed(archive.read("config.json"), path)
        if path.suffix != ".keras" and start == HDF5:
            with h5py.File(path) as file:
                return _parsed(file.attrs["model_config"], path)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, KeyError):
        raise ValueError(f"{path.name} holds no whole Keras model") from None
    raise ValueError(f"{path.name} is not what its name says: it starts with {start!r}")


def _parsed(text: str | bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(f"{path.name} holds an architecture that is not JSON") from None


def _refuse_code(config: Any, path: Path) -> None:
    for part in _parts(config):
        name, module = str(part.get("class_name")), part.get("module")
        if name.rpartition(">")[2] in CODE:
            raise ValueError(f"{path.name} holds a {name} layer, which is code: such models are refused, not run")
        if isinstance(module, str) and module.partition(".")[0] not in ROOMS:
            raise ValueError(f"{path.name} holds {name} of {module}, which is not Keras's own: such models are refused")


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object in a configuration that names a class."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from _parts(value)
    elif isinstance(config, list):
        for value in config:
            yield from _parts(value)
