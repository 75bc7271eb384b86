"""Recommenders by name. Importing this imports none of them; asking for one imports that one."""

from importlib import import_module
from pathlib import Path
from typing import Any

from models.protocol import Recommender

CLASSES = {
    "popularity": "Popularity",
    "itemknn": "ItemKnn",
    "ease": "Ease",
    "sasrec": "SasRec",
    "content": "ContentBased",
    "twotower": "TwoTower",
    "userknn": "UserKnn",
    "hybridcf": "HybridCf",
    "ials": "Ials",
    "easemarkov": "EaseMarkov",
    "gru4rec": "Gru4Rec",
    "bert4rec": "Bert4Rec",
    "multitask": "MultiTask",
}

# Trained by Keras: one at a time, as each takes the accelerator or most of the cores.
NEURAL = frozenset({"sasrec", "twotower", "gru4rec", "bert4rec", "multitask"})


def recommender(name: str, params: object) -> Recommender:
    """An untrained recommender with its section of `models.params.Candidates`. Raises `ValueError` on another name."""
    untrained: Recommender = _class_of(name)(params)
    return untrained


def load(name: str, folder: Path) -> Recommender:
    """The recommender that was saved in `folder`. Raises `ValueError` when that is not one of this name."""
    loaded: Recommender = _class_of(name).load(folder)
    return loaded


def _class_of(name: str) -> Any:
    if name not in CLASSES:
        raise ValueError(f"A candidate is one of {', '.join(CLASSES)}. Received: {name!r}")
    return getattr(import_module(f"models.{name}"), CLASSES[name])
