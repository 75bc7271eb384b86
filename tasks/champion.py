"""The champion, evaluated again: the live release on tonight's holdout, with the vocabulary it went live with."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from infra.errors import Refused
from infra.settings import Settings
from lineage.books import Books
from lineage.releases import Releases
from models.catalogue import load
from tasks.evaluate import evaluate, leave, report
from tasks.params import Evaluate, load_params
from tasks.paths import CHAMPION, CHAMPION_EVALUATION, CHAMPION_METRICS, PREPARED
from tasks.prepare import FIRST_SEEN
from tasks.prepared import Prepared
from tasks.ranker import Ranker, Vocabulary
from tasks.rerank import Reranking
from tasks.schema import Videos
from tasks.stage import read_json, stage, write_json

log = logging.getLogger(__name__)


def evaluate_champion(
    release: str | None, *, releases: Releases, prepared_dir: Path, out: Path, metrics: Path, params: Evaluate
) -> None:
    """Evaluate `release` on the viewers that tonight's candidates are evaluated on.

    A viewer's history is put into the champion's vocabulary, without the videos it has never met; what it recommends
    is put into tonight's, where a video that is gone keeps its place in the list and cannot be a hit. Its lists are
    re-ranked as the release does it, whatever tonight's parameters say. Without a
    release `metrics` says so and `out` holds `none.json`.

    Raises:
        Refused: the release is damaged, cannot be loaded or ranked, or has ids of another type than tonight's.
    """
    if release is None:
        write_json(out / "none.json", {})
        write_json(metrics, {"release": None})
        log.info("no release is live yet: there is no champion to evaluate")
        return
    prepared = Prepared(prepared_dir)
    ranker, folder = release_ranker(release, releases, prepared)
    evaluation = evaluate(ranker, prepared, params=params)
    candidate = releases.manifest(release).candidate
    facts = report(evaluation, prepared, model=folder / "model", candidate=candidate) | {"release": release}
    leave(evaluation, facts, out=out, metrics=metrics)
    log.info("%s (%s): %s %.4f", ranker.name, candidate, params.primary, evaluation.metrics[params.primary])


def release_ranker(release: str, releases: Releases, prepared: Prepared) -> tuple[Ranker, Path]:
    """A release as what takes and gives the videos of `prepared`, re-ranking as it does; and its verified folder.

    Raises:
        Refused: it is damaged, cannot be loaded, or has ids of another type.
    """
    folder, candidate = releases.open(release), releases.manifest(release).candidate
    called = f"champion {release[:12]}"
    known = pl.read_parquet(folder / "vocabulary.parquet")
    vocabulary = between(known, prepared.videos[Videos.ID], called=called)
    try:
        recommender, reranking = load(candidate, folder / "model"), Reranking.load(folder)
    except ValueError as error:
        raise Refused(f"The {called} cannot be loaded: {error}") from error
    listed = vocabulary.listed
    reranker = None if reranking is None else reranking.reranker(known, recommender.video_vectors(), listed=listed)
    n_videos = prepared.videos.height
    return Ranker(recommender, n_videos=n_videos, name=called, vocabulary=vocabulary, reranker=reranker), folder


def between(known: pl.DataFrame, tonight: pl.Series, *, called: str) -> Vocabulary:
    """Match two vocabularies by video id.

    Lists are made of what somebody had watched when the model was made, and of what is tonight's. What nobody has
    watched to this day is left out, as it is for tonight's candidates.

    Args:
        known: the model's videos by its own index, with `first_seen`, null for those that nobody had watched.
        tonight: `[tonight's videos]` ids by tonight's index.
        called: the model, for the error.

    Raises:
        Refused: the ids are of different types, so that no video could ever match.
    """
    own = known[Videos.ID]
    if own.dtype != tonight.dtype:
        raise Refused(f"The {called} must have video ids of tonight's type, {tonight.dtype}. Received: {own.dtype}")
    pairs = _indexed(own, "own").join(_indexed(tonight, "tonight"), on="id")
    to_own, to_tonight = np.full(len(tonight), -1, np.int32), np.full(len(own), -1, np.int32)
    to_own[pairs["tonight"]] = pairs["own"]
    to_tonight[pairs["own"]] = pairs["tonight"]
    listed = np.flatnonzero(known[FIRST_SEEN].is_not_null().to_numpy() | (to_tonight >= 0))
    return Vocabulary(to_own, to_tonight, listed.astype(np.int32))


def _indexed(ids: pl.Series, name: str) -> pl.DataFrame:
    return ids.alias("id").to_frame().with_row_index(name)


def main() -> None:
    """The stage `champion`."""
    params = load_params(Path("params.yaml"))
    books = Books(Settings(), str(params.name), params.release.require_signature)
    evaluate_champion(
        read_json(CHAMPION)["release"],
        releases=books.releases,
        prepared_dir=PREPARED,
        out=CHAMPION_EVALUATION,
        metrics=CHAMPION_METRICS,
        params=params.evaluate,
    )


if __name__ == "__main__":
    stage(main)
