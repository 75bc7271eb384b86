"""RecBole's models, run by `benchmarks.libraries` with the Python of the peers' environment."""

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peer_files import Answer, Asked, best_unseen, serve
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.utils import get_dataloader
from recbole.model.general_recommender import EASE, ItemKNN
from recbole.model.sequential_recommender import GRU4Rec, SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

VIEWERS_AT_ONCE = 256


def configured(asked: Asked, model: str, split: dict[str, Any], **params: Any) -> tuple[Config, list[Any]]:
    """RecBole's configuration, and its parts of the events, which it reads from a file."""
    folder = asked.folder / "events"
    folder.mkdir()
    starts = np.searchsorted(asked.viewers, asked.viewers)
    rows = np.stack([asked.viewers, asked.videos, np.arange(len(starts)) - starts], axis=1)
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(folder / "events.inter", rows, "%d", delimiter="\t", header=header, comments="")
    settings = {
        "data_path": str(asked.folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": split, "order": "TO", "group_by": "user", "mode": "full"},
        "use_gpu": False,
        "seed": asked.seed,
        "checkpoint_dir": str(asked.folder / "saved"),
        "show_progress": False,
        "state": "ERROR",
        **params,
    }
    config = Config(model=model, dataset="events", config_dict=settings)
    init_seed(asked.seed, reproducibility=True)
    return config, create_dataset(config).build()


def lists_of(asked: Asked, model: Any, known: Any, questions: dict[str, NDArray[np.int64]]) -> NDArray[np.int32]:
    """The best unseen videos by the model's scores; what a video is numbered here is turned back."""
    tokens = known.field2id_token["item_id"]
    ours = np.array([-1, *map(int, tokens[1:])])
    seen = np.zeros((len(asked.judged), asked.n_videos), np.bool_)
    wants = np.isin(asked.viewers, asked.judged)
    seen[np.searchsorted(asked.judged, asked.viewers[wants]), asked.videos[wants]] = True
    lists = []
    model.eval()
    for start in range(0, len(asked.judged), VIEWERS_AT_ONCE):
        part = slice(start, start + VIEWERS_AT_ONCE)
        with torch.no_grad():
            given = model.full_sort_predict({name: torch.from_numpy(rows[part]) for name, rows in questions.items()})
        scores = np.full(seen[part].shape, -np.inf, np.float32)
        scores[:, ours[1:]] = np.asarray(given).reshape(len(scores), len(tokens))[:, 1:]
        lists.append(best_unseen(scores, seen[part], asked.k))
    return np.concatenate(lists)


def closed_form(asked: Asked, kind: Any, **params: Any) -> Answer:
    """A model that is done once it is made."""
    config, (known, *_) = configured(asked, kind.__name__, {"RS": [1.0, 0.0, 0.0]}, **params)
    began = time.perf_counter()
    model = kind(config, known)
    fitted = time.perf_counter()
    viewers = known.token2id("user_id", asked.judged.astype(str))
    lists = lists_of(asked, model, known, {"user_id": viewers})
    return Answer(lists, {"fit": fitted - began, "rank": time.perf_counter() - fitted})


def sequential(asked: Asked, kind: Any, **sizes: Any) -> Answer:
    """RecBole's way: each prefix of a history is a sequence of its own, whose next video alone is learnt."""
    of = asked.params
    split, every_video = {"LS": "valid_only"}, {"train_neg_sample_args": None}
    limits = {"train_batch_size": of["batch_size"], "learning_rate": of["learning_rate"], "epochs": of["epochs"]}
    stops = {"stopping_step": of["patience"] - 1, "valid_metric": "NDCG@10", "MAX_ITEM_LIST_LENGTH": of["max_length"]}
    config, (train, valid, _) = configured(asked, kind.__name__, split, **sizes, **every_video, **limits, **stops)
    loaders = [
        get_dataloader(config, phase)(config, part, None, shuffle=phase == "train")
        for phase, part in (("train", train), ("evaluation", valid))
    ]
    ends: list[float] = []
    scores: list[float] = []

    def after_epoch(_: int, score: float) -> None:
        ends.append(time.perf_counter() - began)
        scores.append(score)

    began = time.perf_counter()
    model = kind(config, train)
    trainer = Trainer(config, model)
    trainer.fit(*loaders, verbose=False, callback_fn=after_epoch)
    fitted = time.perf_counter()
    model.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    told = {"fit": fitted - began, "ends": ends, "best": int(np.argmax(scores)) + 1, "sequences": len(train)}
    ranked = time.perf_counter()
    lists = lists_of(asked, model, train, newest(asked, train))
    return Answer(lists, told | {"rank": time.perf_counter() - ranked})


def sasrec(asked: Asked) -> Answer:
    """Of our sizes."""
    of = asked.params
    sizes = {"hidden_size": of["dim"], "inner_size": 4 * of["dim"], "n_layers": of["blocks"], "n_heads": of["heads"]}
    return sequential(asked, SASRec, **sizes, hidden_dropout_prob=of["dropout"], attn_dropout_prob=of["dropout"])


def gru4rec(asked: Asked) -> Answer:
    """Of our sizes."""
    of = asked.params
    sizes = {"embedding_size": of["dim"], "hidden_size": of["dim"], "num_layers": of["layers"]}
    return sequential(asked, GRU4Rec, **sizes, dropout_prob=of["dropout"])


def newest(asked: Asked, known: Any) -> dict[str, NDArray[np.int64]]:
    """The newest events of each judged viewer, as RecBole numbers them, and how many they are."""
    length = asked.params["max_length"]
    numbers = known.token2id("item_id", asked.videos.astype(str))
    rows, lengths = np.zeros((len(asked.judged), length), np.int64), np.zeros(len(asked.judged), np.int64)
    bounds = np.searchsorted(asked.viewers, np.stack([asked.judged, asked.judged + 1]))
    for row, (start, stop) in enumerate(bounds.T):
        recent = numbers[max(start, stop - length) : stop]
        rows[row, : len(recent)], lengths[row] = recent, len(recent)
    return {"item_id_list": rows, "item_length": lengths}


def neighbours(asked: Asked, side: str) -> Answer:
    """By item or by user."""
    of = asked.params
    return closed_form(asked, ItemKNN, k=of["neighbours"], shrink=of["shrink"], knn_method=side)


METHODS = {
    "itemknn": lambda asked: neighbours(asked, "item"),
    "userknn": lambda asked: neighbours(asked, "user"),
    "ease": lambda asked: closed_form(asked, EASE, reg_weight=asked.params["l2"]),
    "gru4rec": gru4rec,
    "sasrec": sasrec,
}

if __name__ == "__main__":
    serve(METHODS)
