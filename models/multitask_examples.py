"""What a multi-task ranker learns from: what retrievers propose to viewers whose newest events they do not know."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.feedback import TOLD, Feedback
from models.params import MultiTaskParams
from models.protocol import Diverged, Training
from models.ranking_features import Columns, RankingFeatures
from models.sequences import Sequences
from models.two_stage import Pool, Retrievers

POSITIVE = "positive"

Table = NDArray[np.float32]
Viewers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Pairs of some viewers and videos.

    Attributes:
        pool: `[pairs]`, of viewers `0..n_viewers - 1`.
        features: by name `[pairs]` float32.
        told: `[pairs, tasks]` float32, NaN where it is not known.
        relevant: `[n_viewers]` what each watched next.
    """

    pool: Pool
    features: Columns
    told: Table
    relevant: Sequences


@dataclass(frozen=True)
class Examples:
    """Two parts of different viewers, by which to learn and to judge, and the names of what is told of them."""

    tasks: list[str]
    learn: Part
    judge: Part


@dataclass(frozen=True)
class Newest:
    """What viewers did last.

    Attributes:
        older: `[viewers]` histories before that.
        positives: `[viewers]` what they watched next.
        feedback: what they did with all that they were shown from then on.
    """

    older: Sequences
    positives: Sequences
    feedback: Feedback

    @classmethod
    def of(cls, data: Training, *, share: float) -> "Newest":
        """The newest `share` of each viewer's positives, one at least, of those who have two."""
        history = data.history()
        from_end = np.repeat(history.offsets[1:], history.lengths) - np.arange(len(history.videos))
        wanted = np.where(history.lengths < 2, 0, np.maximum(1, history.lengths * share)).astype(np.int64)
        newest = from_end <= np.repeat(wanted, history.lengths)
        positives, told = history.where(newest), data.feedback or Feedback.none()
        since = positives.oldest()[told.viewers]
        return cls(history.where(~newest), positives, told.where(told.times >= since))

    def tasks(self) -> list[str]:
        """What can be learnt: the next positive, and what feedback tells in more than one way."""
        told = self.feedback.told
        varied = [name for name in TOLD if name in told and len(np.unique(told[name][~np.isnan(told[name])])) > 1]
        return [POSITIVE, *varied]


def examples_of(
    retrievers: Retrievers, newest: Newest, *, features: RankingFeatures, params: MultiTaskParams, seed: int
) -> Examples:
    """What `retrievers`, trained on `newest.older`, propose to viewers, and what became of it.

    Args:
        retrievers: trained.
        newest: of all viewers.
        features: as they are known from `newest.older`.
        params: how many viewers, candidates and negatives.
        seed: of the draws.

    Raises:
        Diverged: no two viewers have an older and a newer event.
    """
    rng = np.random.default_rng([seed, 1])
    viewers = np.flatnonzero((newest.older.lengths > 0) & (newest.positives.lengths > 0))
    if len(viewers) < 2:
        raise Diverged(f"multitask learns from two or more viewers with two positives. Received: {len(viewers)}")
    viewers = rng.permutation(viewers)[: params.viewers]
    judging = max(1, int(len(viewers) * params.valid))
    parts = [np.sort(viewers[judging:]), np.sort(viewers[:judging])]
    tasks = newest.tasks()
    learn, judge = (
        _part(some, retrievers, newest, features, tasks, params.each, negatives, rng)
        for some, negatives in zip(parts, (params.negatives, None), strict=True)
    )
    return Examples(tasks, learn, judge)


def _part(
    viewers: Viewers,
    retrievers: Retrievers,
    newest: Newest,
    features: RankingFeatures,
    tasks: list[str],
    each: int,
    negatives: int | None,
    rng: np.random.Generator,
) -> Part:
    older, relevant, feedback = newest.older.take(viewers), newest.positives.take(viewers), _of(newest, viewers)
    pools, columns, told = [], [], []
    for rows, some, pool in retrievers.propose(older, each, also=_as_sequences(feedback, len(viewers))):
        known = _told(replace(pool, viewers=pool.viewers + rows[0]), relevant, feedback, tasks)
        kept = np.arange(len(pool)) if negatives is None else _sampled(pool, known, negatives, rng)
        columns.append(features.of(some, pool.take(kept)))
        told.append(known[kept])
        pools.append(replace(pool.take(kept), viewers=pool.viewers[kept] + rows[0]))
    joined = {name: np.concatenate([block[name] for block in columns]) for name in columns[0]}
    return Part(_joined(pools), joined, np.concatenate(told), relevant)


def _of(newest: Newest, viewers: Viewers) -> Feedback:
    """The feedback of `viewers`, ascending, as rows of them; the newest last."""
    feedback = newest.feedback
    feedback = feedback.where(np.isin(feedback.viewers, viewers))
    order = np.lexsort((feedback.times, feedback.viewers))
    told = {name: values[order] for name, values in feedback.told.items()}
    rows = np.searchsorted(viewers, feedback.viewers[order])
    return Feedback(rows, feedback.videos[order], feedback.times[order], told)


def _as_sequences(feedback: Feedback, n_viewers: int) -> Sequences:
    offsets = np.searchsorted(feedback.viewers, np.arange(n_viewers + 1))
    return Sequences(offsets, feedback.videos, feedback.times, np.ones(len(feedback.videos), np.float32))


def _told(pool: Pool, relevant: Sequences, feedback: Feedback, tasks: list[str]) -> Table:
    """`[pairs, tasks]`. Whether what no retriever proposed would be watched is not asked: it cannot be ranked."""
    told = np.full((len(pool), len(tasks)), np.nan, np.float32)
    span = np.int64(max(part.max(initial=0) for part in (pool.videos, relevant.videos, feedback.videos))) + 1
    pairs = pool.viewers * span + pool.videos
    watched = np.isin(pairs, relevant.viewer_of_event() * span + relevant.videos)
    told[:, 0] = np.where(pool.proposed, watched, np.nan)
    asked = feedback.viewers * span + feedback.videos
    at = np.searchsorted(pairs, asked)
    there = (at < len(pairs)) & (pairs[np.minimum(at, len(pairs) - 1)] == asked)
    for column, task in enumerate(tasks[1:], 1):
        known = there & ~np.isnan(feedback.told[task])
        told[at[known], column] = feedback.told[task][known]
    return told


def _sampled(pool: Pool, told: Table, negatives: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Of each viewer what was watched or otherwise told of, and `negatives` others."""
    kept = (told[:, 0] == 1) | ~np.isnan(told[:, 1:]).all(axis=1)
    order = np.lexsort((rng.random(len(pool)), kept, pool.viewers))
    places = np.arange(len(pool)) - np.searchsorted(pool.viewers, pool.viewers)
    kept[order[places < negatives]] = True
    return np.flatnonzero(kept)


def _joined(pools: list[Pool]) -> Pool:
    first = pools[0]
    scores = {name: np.concatenate([pool.scores[name] for pool in pools]) for name in first.scores}
    places = {name: np.concatenate([pool.places[name] for pool in pools]) for name in first.places}
    viewers, videos = (np.concatenate([getattr(pool, name) for pool in pools]) for name in ("viewers", "videos"))
    return Pool(viewers, videos, scores, places, first.each)
