"""Index the challenger: the best candidate of the night gets an index, and its recall against exact search."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import Refused
from models.catalogue import load
from models.faiss_index import DenseSettings
from models.protocol import Recommender
from models.ranking import top_k
from models.search import Index, recall, space_id
from models.sequences import Sequences
from tasks import paths
from tasks.params import Evaluate, Params, load_params
from tasks.params import Index as IndexParams
from tasks.prepared import Prepared
from tasks.rerank import Reranking, newest_event
from tasks.stage import read_json, stage, write_json

log = logging.getLogger(__name__)


def build_index(
    prepared: Path, candidates: Path, evaluations: Path, out: Path, metrics: Path, *, params: Params
) -> dict[str, Any]:
    """Pick the challenger by the primary metric, and leave its index in `out`, with what a server re-ranks by.

    Args:
        prepared: what `tasks.prepare` left.
        candidates: folder with each candidate's weights and config under its name.
        evaluations: folder with each candidate's metrics as `NAME.json`; a candidate that failed has none.
        out: folder of the index.
        metrics: JSON file of what is returned.
        params: the whole tree.

    Returns:
        The challenger, its embedding space, the index's kind, size and recall, and every candidate's primary metric.

    Raises:
        Refused: no candidate has a finite primary metric.
    """
    scores = primary_metrics(evaluations, params)
    name = challenger(scores, params.evaluate)
    model = load(name, candidates / name)
    settings = dense_settings(params.index)
    space = space_id(candidates / name)
    Index.build(model.video_vectors(), settings, space=space, seed=params.seed).save(out)
    if params.rerank:
        Reranking.until(newest_event(Prepared(prepared)), params.rerank, seed=params.seed).save(out)
    index = Index.load(out, model=candidates / name)
    figures = {
        "challenger": name,
        "space": space,
        "kind": index.facts.kind,
        "videos": index.facts.videos,
        "megabytes": round(sum(file.stat().st_size for file in out.iterdir()) / 1e6, 3),
        f"recall@{params.index.recall_at}": _recall(index, model, Prepared(prepared).history(), params),
        "candidates": scores,
    }
    write_json(metrics, figures)
    log.info("challenger %s, %s index over %d videos", name, index.facts.kind, index.facts.videos)
    return figures


def dense_settings(params: IndexParams) -> DenseSettings:
    """How dense vectors are indexed."""
    return DenseSettings(**params.model_dump(include=set(DenseSettings.__dataclass_fields__)))


def primary_metrics(evaluations: Path, params: Params) -> dict[str, float | None]:
    """Each candidate's primary metric; None where it was not evaluated or its figure is not a finite number."""
    figures: dict[str, float | None] = {}
    for name in params.every_candidate:
        file = evaluations / f"{name}.json"
        figure = read_json(file)["metrics"].get(params.evaluate.primary) if file.exists() else None
        figures[name] = figure if figure is not None and math.isfinite(figure) else None
    return figures


def challenger(scores: Mapping[str, float | None], params: Evaluate) -> str:
    """The first name whose score is within the share `params.indifference` of the best.

    Costs have no part in it: they differ from run to run, and a rebuilt night must choose the same.

    Raises:
        Refused: no score is there.
    """
    finite = {name: score for name, score in scores.items() if score is not None}
    if not finite:
        asked = f"No challenger: a candidate needs a finite {params.primary}"
        raise Refused(f"{asked}. Received: none from {', '.join(scores)}")
    least = max(finite.values()) * (1 - params.indifference)
    return next(name for name, score in finite.items() if score >= least)


def _recall(index: Index, model: Recommender, history: Sequences, params: Params) -> float:
    """Recall of the index, as it was loaded, for an even sample of viewers."""
    active = np.flatnonzero(history.lengths)
    size = min(params.index.recall_viewers, len(active))
    sample = np.sort(np.random.default_rng(params.seed).choice(active, size, replace=False))
    seen = history.take(sample)
    viewers, videos = model.viewer_vectors(seen), model.video_vectors()
    k = min(params.index.recall_at, index.facts.videos)
    exact = top_k(viewers, videos, seen, k)
    return recall(index.search(viewers, seen=seen, k=k)[0], viewers, videos, exact=exact)


def main() -> None:
    """The DVC stage."""
    build_index(
        paths.PREPARED,
        paths.CANDIDATES,
        paths.EVALUATE_METRICS,
        paths.INDEX,
        paths.INDEX_METRICS,
        params=load_params(Path("params.yaml")),
    )


if __name__ == "__main__":
    stage(main)
