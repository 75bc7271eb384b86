"""RecTools' models, run by `benchmarks.libraries` with the Python of the peers' environment."""

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from peer_files import Answer, Asked, serve
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import (
    BERT4RecModel,
    EASEModel,
    ImplicitALSWrapperModel,
    ImplicitItemKNNWrapperModel,
    PopularModel,
    SASRecModel,
)

STOPS_FROM = pd.Timestamp("2001-01-01")


def dataset(asked: Asked) -> Dataset:
    """All events, numbered as we number them. Times are made up: they keep the order, and mark what stops."""
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(len(asked.viewers)), unit="s")
    times = times.where(~asked.stops, times + (STOPS_FROM - pd.Timestamp("2000-01-01")))
    columns = {Columns.User: asked.viewers, Columns.Item: asked.videos, Columns.Weight: 1.0, Columns.Datetime: times}
    users, items = (IdMap(np.arange(n)) for n in (asked.viewers.max() + 1, asked.n_videos))
    return Dataset(users, items, Interactions.from_raw(pd.DataFrame(columns), users, items))


def answer(asked: Asked, model: Any, epochs: "Epochs | None" = None) -> Answer:
    """Fit and recommend."""
    known = dataset(asked)
    began = time.perf_counter()
    model.fit(known)
    fitted = time.perf_counter()
    told: dict[str, Any] = {}
    if epochs:
        epochs = next(each for each in model.fit_trainer.callbacks if isinstance(each, Epochs))  # it was copied
        model.lightning_model.load_state_dict(epochs.weights)
        sequences = len(model.data_preparator.get_dataloader_train().dataset)
        told = {"ends": [end - began for end in epochs.ends], "best": epochs.best, "sequences": sequences}
    ranked = time.perf_counter()
    found = model.recommend(asked.judged, known, k=asked.k, filter_viewed=True)
    told |= {"fit": fitted - began, "rank": time.perf_counter() - ranked}
    lists = np.full((len(asked.judged), asked.k), -1, np.int32)
    rows = np.searchsorted(asked.judged, found[Columns.User].to_numpy())
    lists[rows, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    return Answer(lists, told)


def to_stop_by(interactions: pd.DataFrame) -> np.ndarray:
    """Mask of the events that early stopping looks at."""
    return (interactions[Columns.Datetime] >= STOPS_FROM).to_numpy()


class Epochs(Callback):
    """Early stopping by NDCG@10 on validation, as ours. By the loss, as in RecTools' tutorials, it stops too early."""

    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.highest = patience, 0, -1.0
        self.ends: list[float] = []
        self.gains: list[torch.Tensor] = []
        self.weights: dict[str, Any] = {}

    def on_validation_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Rank each viewer's one validation event among what the model has not just read."""
        logits = outputs["logits"].reshape(len(batch["y"]), -1)
        wanted = logits.gather(1, batch["y"])
        before = (logits.scatter(1, batch["x"], -torch.inf) > wanted).sum(dim=1)
        self.gains.append(torch.where(before < 10, 1 / torch.log2(before + 2.0), 0.0))

    def on_validation_end(self, trainer: Trainer, module: Any) -> None:
        """Note the epoch."""
        self.ends.append(time.perf_counter())
        ndcg, self.gains = float(torch.cat(self.gains).mean()), []
        if ndcg > self.highest:
            self.highest, self.best = ndcg, len(self.ends)
            self.weights = {name: weight.detach().clone() for name, weight in module.state_dict().items()}
        trainer.should_stop = len(self.ends) - self.best >= self.patience


def transformer(asked: Asked, kind: Any, **more: Any) -> Answer:
    """A model of the same size, trained by the same limits."""
    of = asked.params
    seed_everything(asked.seed)
    epochs = Epochs(of["patience"])

    def trainer() -> Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        return Trainer(max_epochs=of["epochs"], callbacks=[epochs], num_sanity_val_steps=0, devices=1, **quiet)

    sizes = {"n_factors": of["dim"], "n_blocks": of["blocks"], "n_heads": of["heads"], "dropout_rate": of["dropout"]}
    limits = {"session_max_len": of["max_length"], "batch_size": of["batch_size"], "lr": of["learning_rate"]}
    called = {"get_val_mask_func": to_stop_by, "get_trainer_func": trainer}
    return answer(asked, kind(loss="softmax", **sizes, **limits, **called, **more), epochs)


def ials(asked: Asked) -> Answer:
    """implicit's, of which the confidence is multiplied by an entry, the 1 included."""
    of = asked.params
    model = AlternatingLeastSquares(
        factors=of["factors"],
        regularization=of["l2"],
        alpha=1 + of["alpha"],
        iterations=of["iterations"],
        random_state=asked.seed,
    )
    return answer(asked, ImplicitALSWrapperModel(model))


METHODS = {
    "popularity": lambda asked: answer(asked, PopularModel()),
    "itemknn": lambda asked: answer(
        asked, ImplicitItemKNNWrapperModel(CosineRecommender(K=asked.params["neighbours"]))
    ),
    "ials": ials,
    "ease": lambda asked: answer(asked, EASEModel(regularization=asked.params["l2"])),
    "sasrec": lambda asked: transformer(asked, SASRecModel),
    "bert4rec": lambda asked: transformer(asked, BERT4RecModel, mask_prob=asked.params["mask_share"]),
}

if __name__ == "__main__":
    serve(METHODS)
