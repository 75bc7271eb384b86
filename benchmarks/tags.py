"""Tags measured: KuaiRec's first-level categories from caption, cover text and topics, as macro-F1 on a fixed split.

    .venv/bin/python -m benchmarks.tags

A fifth of the labelled videos is held out by the hash of their id; the digest of that split is printed. What is tuned
(l2, balance, the baseline's C) is chosen on a further fifth of the training part. The text vectors are kept in
`--cache`, so that a second run takes a minute.
"""

import argparse
import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.classification import macro_f1
from models.encoders.text import TextEncoder, open_text_encoder
from models.params import TagsParams
from models.tags import FineTuned, zero_shot
from models.video_content import VideoContent
from tasks.params import TextFields
from tasks.split import stable_hash
from tasks.tag import best, held_out
from tasks.texts import fused, normalised

FIELDS = {"title": "caption", "cover_text": "manual_cover_text", "tags": "topic_tag"}
ABSENT = ("", "UNKNOWN", "[]")

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """Labelled videos, and who learns, chooses and judges."""

    ids: NDArray[np.int64]
    category: NDArray[np.object_]
    texts: dict[str, list[str]]
    learn: Rows
    choose: Rows
    judge: Rows

    @property
    def joined(self) -> list[str]:
        """All fields of each video as one text."""
        return [" ".join(part for part in parts if part) for parts in zip(*self.texts.values(), strict=True)]


def main() -> None:
    """Print the split and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "nightreel-encoders")
    words = parser.parse_args()
    data = kuairec()
    described = [at for at, text in enumerate(data.joined) if text]
    print(f"{len(data.ids)} videos of {len(set(data.category))} categories, {len(described)} with any text;")
    print(f"{len(data.learn) + len(data.choose)} learnt from, {len(data.judge)} held out, split {split_digest(data)}\n")
    encoder = open_text_encoder("e5", prefix="", max_tokens=128, cache=words.cache)
    fields = {name: vectors(encoder, texts, words.cache) for name, texts in data.texts.items()}
    whole = vectors(encoder, data.joined, words.cache)
    names = sorted(set(data.category))
    weights = dict(TextFields())
    one = content(text=fused(fields, {name: weights[name] for name in fields}))
    print("| tagger | macro-F1 | accuracy | chosen |\n| --- | --- | --- | --- |")
    majority = max(names, key=data.category[data.learn].tolist().count)
    row("majority", data, [majority] * len(data.judge))
    tfidf(data)
    for label, videos in {"fields weighted as by default": one, "fields as one text": content(text=whole)}.items():
        zero = zero_shot(videos, encoder.encode(names), temperature=0.02)
        row(f"zero-shot, {label}", data, best(names, zero[data.judge]))
    by_field, all_text = content(**fields), content(**fields, whole=whole)
    learnt("fields weighted as by default", data, one)
    learnt("fields as one text", data, content(text=whole))
    learnt("fields side by side", data, by_field)
    learnt("fields side by side and as one text", data, all_text)
    hidden("fields side by side and as one text", data, all_text)


def kuairec() -> Data:
    """The videos that have a category."""
    path = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "kuairec" / "kuairec_caption_category.csv"
    rows = pl.read_csv(path, infer_schema=False).filter(~pl.col("first_level_category_name").is_in(ABSENT))
    ids = rows["video_id"].cast(pl.Int64).to_numpy()
    judged = held_out(pl.Series(ids), 0.2)
    # independent of the first draw, which is of the same hash's remainder
    chosen = ~judged & (stable_hash(pl.Series(ids)) // np.uint64(10_000) % np.uint64(5) == 0)
    return Data(
        ids,
        np.array(rows["first_level_category_name"].to_list(), dtype=object),
        {name: [said(text or "") for text in rows[column]] for name, column in FIELDS.items()},
        np.flatnonzero(~judged & ~chosen),
        np.flatnonzero(chosen),
        np.flatnonzero(judged),
    )


def said(value: str) -> str:
    """A field's text; of topics the list's words."""
    text = normalised(value)
    return "" if text in ABSENT else text.removeprefix("[").removesuffix("]")


def split_digest(data: Data) -> str:
    """SHA-256 of the held-out ids."""
    return hashlib.sha256(np.sort(data.ids[data.judge]).astype("<i8").tobytes()).hexdigest()


def vectors(encoder: TextEncoder, texts: list[str], cache: Path) -> NDArray[np.float32]:
    """`[videos, dim]`, NaN where there is no text; kept under the digest of encoder and texts."""
    key = hashlib.sha256("\n".join([encoder.digest, *texts]).encode()).hexdigest()
    kept = cache / f"texts-{key}.npy"
    if not kept.exists():
        found = np.full((len(texts), encoder.dim), np.nan, np.float32)
        rows = [at for at, text in enumerate(texts) if text]
        found[rows] = encoder.encode([texts[at] for at in rows])
        cache.mkdir(parents=True, exist_ok=True)
        np.save(kept, found)
    loaded: NDArray[np.float32] = np.load(kept, allow_pickle=False)
    return loaded


def content(**tables: NDArray[np.float32]) -> VideoContent:
    """Tables as modalities."""
    return VideoContent(tables, dict.fromkeys(tables, "e5"))


def row(label: str, data: Data, guess: Sequence[str], chosen: str = "") -> None:
    """One line of the table. A video without text is guessed wrong by who reads texts alone."""
    truth = data.category[data.judge].tolist()
    right = np.mean([a == b for a, b in zip(truth, guess, strict=True)])
    print(f"| {label} | {macro_f1(truth, guess):.3f} | {right:.3f} | {chosen} |", flush=True)


def tuned(data: Data, options: Sequence[Any], guess: Callable[[Any, Rows, Rows], Sequence[str]]) -> tuple[Any, Any]:
    """The option that does best on the choosing part, and its guesses on the judging one, learnt from all others."""
    truth = data.category[data.choose].tolist()
    option = max(options, key=lambda one: macro_f1(truth, guess(one, data.learn, data.choose)))
    return option, guess(option, np.concatenate([data.learn, data.choose]), data.judge)


def tfidf(data: Data) -> None:
    """Character n-grams (Chinese has no blanks between words) and logistic regression, both scikit-learn's."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = np.array(data.joined, dtype=object)

    def guess(option: tuple[float, str | None], learn: Rows, judge: Rows) -> list[str]:
        reader = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
        model = LogisticRegression(C=option[0], class_weight=option[1], max_iter=300, tol=1e-3)
        model.fit(reader.fit_transform(texts[learn]), data.category[learn])
        guessed: list[str] = model.predict(reader.transform(texts[judge])).tolist()
        return guessed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence and deprecations: the score says what matters
        option, guessed = tuned(data, list(product((3.0, 10.0, 30.0), (None, "balanced"))), guess)
    row("TF-IDF of 1 to 3 characters + logistic regression", data, guessed, f"C={option[0]:g}, {option[1] or 'plain'}")


def learnt(label: str, data: Data, videos: VideoContent) -> None:
    """Our tagger."""

    def guess(params: TagsParams, learn: Rows, judge: Rows) -> list[str]:
        learn = learn[~np.isnan(np.stack([table[learn, 0] for table in videos.vectors.values()])).all(axis=0)]
        tagger = FineTuned.fit(videos, learn, data.category[learn].tolist(), params=params)
        return fallback(best(tagger.labels, tagger.scores(videos)[judge]), data, learn)

    options = [TagsParams(l2=l2, balance=b) for l2, b in product((3e-3, 1e-2, 3e-2), (0.5, 1.0))]
    params, guessed = tuned(data, options, guess)
    row(f"learnt, {label}", data, guessed, f"l2={params.l2:g}, balance={params.balance:g}")


def hidden(label: str, data: Data, videos: VideoContent) -> None:
    """The like with a hidden layer, in Keras: is the linear tagger's simplicity paid for?"""
    from models.backend import keras, repeatable

    names = sorted(set(data.category))
    numbers = np.array([names.index(category) for category in data.category])
    tables = [videos.filled(name) - np.nanmean(table, axis=0) * videos.present(name)[:, None]
              for name, table in videos.vectors.items()]  # fmt: skip
    features = np.concatenate([table / table.std() for table in tables], axis=1)

    def guess(width: int, learn: Rows, judge: Rows) -> list[str]:
        repeatable(0)
        layers = keras.layers
        model = keras.Sequential(
            [layers.Dropout(0.3), layers.Dense(width, "relu"), layers.Dropout(0.5), layers.Dense(len(names), "softmax")]
        )
        model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.05), "sparse_categorical_crossentropy")
        counts = np.bincount(numbers[learn], minlength=len(names))
        weights = (len(learn) / len(names) / np.maximum(counts, 1)) ** 0.5
        model.fit(features[learn], numbers[learn], sample_weight=weights[numbers[learn]], batch_size=128, epochs=25,
                  verbose=0)  # fmt: skip
        return [names[at] for at in model.predict(features[judge], verbose=0).argmax(axis=1)]

    width, guessed = tuned(data, [128, 512], guess)
    row(f"learnt with a hidden layer, {label}", data, guessed, f"width={width}")


def fallback(guess: Sequence[str], data: Data, learn: Rows) -> list[str]:
    """The commonest category for videos without any text, as the baselines have it too."""
    common = max(sorted(set(data.category[learn])), key=data.category[learn].tolist().count)
    return [label or common for label in guess]


if __name__ == "__main__":
    main()
