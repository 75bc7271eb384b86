"""Delayed truth: what viewers went on to watch on days that a release was not trained on, and how it did on them.

The days are laid out as a night lays out its holdout, so that the night's own evaluation measures them: histories end
where the window begins.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import Refused
from lineage.windows import Measure
from models.params import PopularityParams
from models.popularity import Popularity
from models.protocol import Training
from models.sequences import Sequences
from tasks.evaluate import Evaluation, evaluate, held_out
from tasks.params import Evaluate, Prepare
from tasks.positives import Pairs, find_positives
from tasks.prepare import TRAIN_EVENTS, vocabulary, write_prepared
from tasks.prepared import Prepared
from tasks.ranker import Ranker
from tasks.schema import Events, Users, Videos
from tasks.split import HOLDOUT, TRAIN


@dataclass(frozen=True)
class Known:
    """Whom and what a release has met: ids of its viewers and of its videos."""

    viewers: pl.Series
    videos: pl.Series


@dataclass(frozen=True)
class Truth:
    """Some days, laid out.

    Attributes:
        prepared: the days' positives of viewers whom the release knows as holdout, all before as training.
        judged: viewers with a history and something new.
        unknown_viewers: share of the viewers with a positive whom the release has not met.
        unknown_videos: share of the positives whose video it has not met.
    """

    prepared: Prepared
    judged: int
    unknown_viewers: float
    unknown_videos: float


def lay_out(
    out: Path, events: pl.DataFrame, catalogue: pl.DataFrame, days: tuple[date, date], known: Known, params: Prepare
) -> Truth:
    """Lay out the positives of the days `days`, first and last, in the folder `out`.

    Args:
        out: made anew.
        events: accepted ones, sorted by user and time; those after the last day are not looked at.
        catalogue: accepted videos, every video of `events` among them.
        days: the window.
        known: whom and what the release has met.
        params: what counts as a positive; how often a viewer or a video must be there is not asked.
    """
    day, (first, last) = pl.col(Events.DAY), days
    relaxed = params.model_copy(update={"min_video_events": 1, "min_viewer_events": 1})
    until = events.lazy().filter(day <= last)
    videos = vocabulary(catalogue, until)
    before = find_positives(until.filter(day < first), videos, relaxed)
    after = find_positives(until.filter(day >= first), videos, relaxed)
    met = after.ids.is_in(known.viewers.implode()).to_numpy()
    strange = ~videos[Videos.ID].is_in(known.videos.implode()).to_numpy()
    sequences, split, ids = _merged(before, after.where(met[after.viewers]))
    learnt = np.bincount(sequences.videos[split == TRAIN], minlength=videos.height)
    facts = {"now": int(before.times.max(initial=0)), "as_of": str(last)}
    write_prepared(out, videos.with_columns(pl.Series(TRAIN_EVENTS, learnt)), ids, sequences, split, facts)
    prepared = Prepared(out)
    return Truth(prepared, _judged(prepared), _share(~met), _share(strange[after.videos]))


def measured(
    ranker: Ranker, truth: Truth, params: Evaluate, *, counted: PopularityParams
) -> tuple[Evaluation, Evaluation]:
    """What the release did, and what the most popular videos before the window would have, for the same viewers."""
    prepared, judging = truth.prepared, params.model_copy(update={"latency_viewers": 1})
    return evaluate(ranker, prepared, params=judging), _most_popular(prepared, judging, counted)


def measures(evaluation: Evaluation, metrics: list[str]) -> dict[str, Measure]:
    """Mean and standard deviation over viewers of each of `metrics`."""
    return {name: measure(evaluation.viewers[name].to_numpy()) for name in metrics}


def measure(values: NDArray[np.float64]) -> Measure:
    """Mean and standard deviation of `[viewers]` figures, two or more."""
    return Measure(mean=float(values.mean()), sd=float(values.std(ddof=1)))


def _most_popular(prepared: Prepared, judging: Evaluate, counted: PopularityParams) -> Evaluation:
    model = Popularity(counted)
    n_videos, now = prepared.videos.height, prepared.facts["now"]
    model.fit(Training(prepared.train(), prepared.valid(), n_videos=n_videos, now=now, seed=0))
    return evaluate(Ranker(model, n_videos=n_videos, name="popularity"), prepared, params=judging)


def _merged(before: Pairs, after: Pairs) -> tuple[Sequences, NDArray[np.uint8], pl.Series]:
    """Both by viewer, what was before first; the split that tells them apart; and the viewers' ids."""
    ids = pl.concat([before.ids, after.ids]).unique().sort().alias(Users.ID)
    each = (before, after)
    viewers = np.concatenate([ids.search_sorted(part.ids).to_numpy()[part.viewers] for part in each])
    split = np.repeat(np.array([TRAIN, HOLDOUT], np.uint8), [len(part.viewers) for part in each])
    times = np.concatenate([part.times for part in each])
    order = np.lexsort((times, split, viewers))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(viewers, minlength=len(ids)))]).astype(np.int64)
    names = set(before.contexts) | set(after.contexts)
    sequences = Sequences(
        offsets,
        np.concatenate([part.videos for part in each]).astype(np.int32),
        times,
        np.concatenate([part.weights for part in each]),
        {name: np.concatenate([_context(part, name) for part in each]) for name in sorted(names)},
    )
    return sequences.reordered(order), split[order], ids


def _context(part: Pairs, name: str) -> NDArray[np.int32]:
    return part.contexts.get(name, np.full(len(part.viewers), -1, np.int32))


def _judged(prepared: Prepared) -> int:
    try:
        return len(held_out(prepared).viewers)
    except Refused:
        return 0


def _share(marks: NDArray[np.bool_]) -> float:
    return float(marks.mean()) if len(marks) else 0.0
