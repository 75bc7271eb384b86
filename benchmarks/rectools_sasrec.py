"""RecTools' SASRec on the CPU, run by `benchmarks/recommenders.py` with the Python of the peers' environment."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def dataset(arrays: Mapping[str, np.ndarray], name: str) -> Dataset:
    """The events `name` of the exchanged file as RecTools takes them; order within a viewer kept by made-up times."""
    users, items = arrays[f"{name}_users"], arrays[f"{name}_videos"]
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(users)), unit="s")
    frame = {Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: times}
    return Dataset.construct(pd.DataFrame(frame))


def main(exchange: Path, out: Path, params: dict[str, Any]) -> None:
    """Fit on `train`, recommend ten unseen videos to each viewer from `history`; write lists and seconds to `out`."""
    arrays = np.load(exchange)
    began = time.perf_counter()
    model = SASRecModel(
        n_factors=params["dim"],
        n_blocks=params["blocks"],
        n_heads=params["heads"],
        session_max_len=params["max_length"],
        dropout_rate=params["dropout"],
        batch_size=params["batch_size"],
        lr=params["learning_rate"],
        epochs=params["epochs"],
        loss="softmax",
        deterministic=True,
    )
    model.fit(dataset(arrays, "train"))
    fitted = time.perf_counter()
    users = np.unique(arrays["history_users"])
    found = model.recommend(users, dataset(arrays, "history"), k=10, filter_viewed=True)
    ended = time.perf_counter()
    lists = np.full((users.max() + 1, 10), -1)
    lists[found[Columns.User].to_numpy(), found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    np.savez(out, lists=lists, seconds=[fitted - began, ended - fitted])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
