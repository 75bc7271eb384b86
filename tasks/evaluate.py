"""Full-ranking evaluation of one recommender on tonight's holdout: metrics, slices, one row a viewer."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.console import progress_bar
from infra.errors import Refused
from models.catalogue import load
from models.params import RerankParams
from models.protocol import Recommender
from models.rerank import Reranker
from models.sequences import Sequences
from tasks.metrics import list_metrics, ranking_metrics, video_features
from tasks.params import Evaluate, load_params
from tasks.paths import CANDIDATES, EVALUATE_METRICS, EVALUATION, PREPARED
from tasks.prepared import Prepared
from tasks.ranker import Lists, Ranker, refuse_bad_lists
from tasks.rerank import Reranking
from tasks.schema import Events
from tasks.slices import SLICED_BY, viewer_slices
from tasks.stage import stage, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holdout:
    """Who is recommended to, and what would be right.

    Attributes:
        viewers: `[n]` indices of the viewers with relevant videos, ascending.
        history: `[n]` what is known of each: train and valid.
        relevant: `[n]` what each watched after that and had not seen before, each video once.
        left_out: viewers of the holdout who watched nothing new in it, or of whom nothing was known before.
    """

    viewers: NDArray[np.int64]
    history: Sequences
    relevant: Sequences
    left_out: int


@dataclass(frozen=True)
class Evaluation:
    """What one recommender did.

    Attributes:
        viewers: one row a viewer of the holdout: ids, every metric, slices, the list `recommended`.
        metrics: means over viewers, and the metrics of all lists together.
        slices: the same means by slice, with its number of `viewers`.
        left_out: viewers of the holdout who could not be judged.
        milliseconds: median time to recommend to one viewer.
    """

    viewers: pl.DataFrame
    metrics: dict[str, float]
    slices: dict[str, dict[str, float]]
    left_out: int
    milliseconds: float


def held_out(prepared: Prepared) -> Holdout:
    """The viewers to evaluate on. Raises `Refused` when nobody has anything new in the holdout."""
    history, holdout = prepared.history(), prepared.holdout()
    n_videos = prepared.videos.height
    pairs = holdout.viewer_of_event() * n_videos + holdout.videos
    new = ~np.isin(pairs, history.viewer_of_event() * n_videos + history.videos)
    once = np.zeros(len(pairs), np.bool_)
    once[np.unique(pairs, return_index=True)[1]] = True
    relevant = holdout.where(new & once)
    viewers = np.flatnonzero((relevant.lengths > 0) & (history.lengths > 0))
    if len(viewers) == 0:
        raise Refused(
            "Evaluation needs viewers with a history who watched something new in the holdout. "
            f"Received: {len(pairs)} held-out events"
        )
    left_out = int((holdout.lengths > 0).sum()) - len(viewers)
    return Holdout(viewers, history.take(viewers), relevant.take(viewers), left_out)


def evaluate(ranker: Ranker, prepared: Prepared, *, params: Evaluate) -> Evaluation:
    """Rank the whole catalogue for every viewer of the holdout, in blocks of `params.block_viewers`.

    Raises:
        Refused: the recommender gives a figure that is not finite, or a list with a seen, repeated or unknown video.
    """
    holdout = held_out(prepared)
    lists = _recommend_all(ranker, holdout, params)
    ranking = {name: of for ks, made in lists for name, of in ranking_metrics(made, holdout.relevant, ks=ks).items()}
    train_events = prepared.videos["train_events"].to_numpy()
    features = video_features(prepared.videos, prepared.train())
    slices = viewer_slices(
        holdout.history,
        holdout.relevant,
        first_seen=prepared.videos["first_seen"].to_numpy(),
        train_events=train_events,
        now=prepared.facts["now"],
    )
    viewers = pl.concat(
        [_ids(prepared, holdout), pl.DataFrame(ranking), slices, _as_column(lists[-1][1])], how="horizontal"
    )
    overall = {name: float(values.mean()) for name, values in ranking.items()}
    for ks, made in lists:
        overall |= list_metrics(made, ks=ks, train_events=train_events, features=features)
    milliseconds = _milliseconds(ranker, holdout, params)
    return Evaluation(viewers, overall, _by_slice(viewers, list(ranking)), holdout.left_out, milliseconds)


def _recommend_all(ranker: Ranker, holdout: Holdout, params: Evaluate) -> list[tuple[list[int], Lists]]:
    """Lists `[viewers, k]`, the longest last, each with the lengths that it is judged at.

    Those that are not re-ranked are the beginnings of the longest.
    """
    n, lengths = len(holdout.viewers), sorted(params.ks) if ranker.reranker else [max(params.ks)]
    recommended = {k: np.empty((n, k), np.int32) for k in lengths}
    with progress_bar() as bar:
        shown = bar.add_task(f"evaluate {ranker.name}, viewers", total=n)
        for block in _blocks(n, params.block_viewers):
            histories = holdout.history.take(block)
            for k, lists in ranker.recommend_each(histories, lengths).items():
                refuse_bad_lists(lists, histories, n_videos=ranker.n_videos, name=ranker.name)
                recommended[k][block] = lists
            bar.advance(shown, len(block))
    return [([k] if ranker.reranker else params.ks, lists) for k, lists in recommended.items()]


def _blocks(n: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def _ids(prepared: Prepared, holdout: Holdout) -> pl.DataFrame:
    index = pl.Series("viewer", holdout.viewers, dtype=pl.Int32)
    return prepared.viewers.select(Events.USER)[holdout.viewers].with_columns(index)


def _as_column(recommended: Lists) -> pl.DataFrame:
    arrays = pl.Series("recommended", recommended, dtype=pl.Array(pl.Int32, recommended.shape[1]))
    return arrays.arr.to_list().to_frame()


def _by_slice(viewers: pl.DataFrame, metrics: list[str]) -> dict[str, dict[str, float]]:
    slices = {}
    for by in SLICED_BY:
        means = viewers.group_by(by, maintain_order=True).agg(pl.len().alias("viewers"), pl.col(metrics).mean())
        for row in means.iter_rows(named=True):
            slices[f"{by}={row.pop(by)}"] = row
    return slices


def _milliseconds(ranker: Ranker, holdout: Holdout, params: Evaluate) -> float:
    """Median over evenly spaced viewers of one viewer's recommendation, after two that warm up."""
    n = len(holdout.viewers)
    wanted = min(n, params.latency_viewers)
    chosen = [holdout.history.take(np.array([at])) for at in np.arange(wanted) * n // wanted]
    taken = []
    for history in [chosen[0], chosen[0], *chosen]:
        start = time.perf_counter()
        ranker.recommend(history, max(params.ks))
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[2:])) * 1000


def megabytes(folder: Path) -> float:
    """Size of all files under `folder`, in millions of bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def report(evaluation: Evaluation, prepared: Prepared, *, model: Path, candidate: str) -> dict[str, Any]:
    """What the metrics file of an evaluation says; a figure that is not finite is null, which the gate refuses."""
    return {
        "candidate": candidate,
        "metrics": {name: _finite(value) for name, value in evaluation.metrics.items()},
        "slices": evaluation.slices,
        "viewers": evaluation.viewers.height,
        "left_out": evaluation.left_out,
        "split_digest": prepared.facts["split_digest"],
        "milliseconds": evaluation.milliseconds,
        "megabytes": megabytes(model),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def leave(evaluation: Evaluation, facts: dict[str, Any], *, out: Path, metrics: Path) -> None:
    """Write viewers and plots into `out`, and `facts` to `metrics`."""
    from tasks.evaluation_plots import plot_evaluation

    out.mkdir(parents=True, exist_ok=True)
    evaluation.viewers.write_parquet(out / "viewers.parquet")
    plot_evaluation(facts, out / "plots")
    write_json(metrics, facts)


def run_evaluation(
    name: str,
    *,
    prepared_dir: Path,
    candidate_dir: Path,
    out: Path,
    metrics: Path,
    params: Evaluate,
    rerank: RerankParams | None = None,
    seed: int = 0,
) -> None:
    """Evaluate the candidate saved in `candidate_dir`, its lists re-ranked as `rerank` and `seed` say.

    Raises:
        Refused: it cannot be read or ranked.
    """
    prepared = Prepared(prepared_dir)
    try:
        recommender = load(name, candidate_dir)
    except ValueError as error:
        raise Refused(f"{name} cannot be loaded: {error}") from error
    reranker = None if rerank is None else _reranker(recommender, prepared, rerank, seed)
    ranker = Ranker(recommender, n_videos=prepared.videos.height, name=name, reranker=reranker)
    evaluation = evaluate(ranker, prepared, params=params)
    leave(evaluation, report(evaluation, prepared, model=candidate_dir, candidate=name), out=out, metrics=metrics)
    log.info(
        "%s: %s %.4f over %d viewers",
        name,
        params.primary,
        evaluation.metrics[params.primary],
        evaluation.viewers.height,
    )


def _reranker(recommender: Recommender, prepared: Prepared, rerank: RerankParams, seed: int) -> Reranker:
    """As of the end of what was learnt from: what first appeared in the holdout is not known to be fresh."""
    now = prepared.facts["now"]
    reranking = Reranking.until(now, rerank, seed=seed)
    return reranking.reranker(prepared.videos, recommender.video_vectors(), now=now)


def main(candidate: str) -> None:
    """The stage `evaluate` of one candidate."""
    params = load_params(Path("params.yaml"))
    run_evaluation(
        candidate,
        prepared_dir=PREPARED,
        candidate_dir=CANDIDATES / candidate,
        out=EVALUATION / candidate,
        metrics=EVALUATE_METRICS / f"{candidate}.json",
        params=params.evaluate,
        rerank=params.rerank,
        seed=params.seed,
    )


if __name__ == "__main__":
    stage(main)
