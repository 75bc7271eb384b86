"""A recommender inside another one's files: its arrays under a prefix, its config as a value."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from models.catalogue import load
from models.protocol import Recommender
from models.weights import CONFIG, WEIGHTS, Arrays, read_arrays, save_weights


def folded(name: str, model: Recommender) -> tuple[Arrays, Any]:
    """What `model`, called `name` in `models.catalogue`, saves: its arrays as `NAME/ARRAY`, and its config."""
    with TemporaryDirectory() as folder:
        model.save(Path(folder))
        arrays = {f"{name}/{key}": array for key, array in read_arrays(Path(folder) / WEIGHTS).items()}
        config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))["config"]
    return arrays, config


def unfolded(name: str, arrays: Mapping[str, NDArray[Any]], config: object) -> Recommender:
    """The recommender whose `folded` are among `arrays`. Raises `ValueError` when it is not one of this name."""
    own = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    with TemporaryDirectory() as folder:
        save_weights(Path(folder), recommender=name, arrays=own, config=config)
        return load(name, Path(folder))
