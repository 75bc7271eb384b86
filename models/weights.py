"""Weights on disk: arrays as safetensors beside a JSON config. No pickle, and equal weights give equal bytes."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
FORMAT = 1

Arrays = dict[str, NDArray[Any]]


def save_weights(folder: Path, *, recommender: str, arrays: Mapping[str, NDArray[Any]], config: object) -> None:
    """Write `arrays` and `config` (JSON types only) of one recommender into `folder`, made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / WEIGHTS)
    content = {"format": FORMAT, "recommender": recommender, "config": config}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_config(folder: Path, *, recommender: str) -> dict[str, Any]:
    """The config that `save_weights` wrote. Raises `ValueError` when it is missing or of another recommender."""
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("recommender") != recommender:
        raise ValueError(f"{path} must be the config of a {recommender} in format {FORMAT}. Received: {content!r:.200}")
    config: dict[str, Any] = content["config"]
    return config


def read_arrays(path: Path) -> Arrays:
    """All arrays of one safetensors file. Raises `ValueError` when it is missing or none."""
    try:
        arrays: Arrays = load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None
    return arrays


def load_arrays(path: Path, *, names: Iterable[str]) -> Arrays:
    """The arrays of one safetensors file.

    Raises:
        ValueError: the file is missing, no safetensors, or its arrays are not those of `names`.
    """
    arrays = read_arrays(path)
    if arrays.keys() != set(names):
        raise ValueError(f"{path} must hold {', '.join(sorted(names))}. Received: {', '.join(sorted(arrays))}")
    return arrays
