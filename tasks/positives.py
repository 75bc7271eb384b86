"""Which events are positives, each viewer's first of a video, and which are left out as too rare."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.params import Grades, Positives, Prepare
from tasks.schema import Events, Videos
from tasks.split import stable_hash

INDEX = "__index__"
WEIGHT = "__weight__"
CONTEXTS = (Events.REGION, Events.DEVICE)


@dataclass(frozen=True)
class Pairs:
    """Positives in the order of events: by viewer, then time.

    Attributes:
        ids: user id of each viewer number.
        viewers: `[events]` int64, viewer numbers, ascending.
        videos: `[events]` int64, rows of the vocabulary.
        times: `[events]` int64, milliseconds.
        weights: `[events]` float32, how strong each is, 1 at least.
        contexts: as `models.sequences.Sequences` says.
    """

    ids: pl.Series
    viewers: NDArray[np.int64]
    videos: NDArray[np.int64]
    times: NDArray[np.int64]
    weights: NDArray[np.float32]
    contexts: Mapping[str, NDArray[np.int32]]

    def where(self, keep: NDArray[np.bool_]) -> "Pairs":
        """The positives under the mask `keep` `[events]`."""
        contexts = {name: codes[keep] for name, codes in self.contexts.items()}
        return Pairs(self.ids, self.viewers[keep], self.videos[keep], self.times[keep], self.weights[keep], contexts)


def find_positives(events: pl.LazyFrame, videos: pl.DataFrame, params: Prepare) -> Pairs:
    """The positives among `events`, which are sorted by user and time and whose videos are all rows of `videos`."""
    known = videos.select(c for c in (Videos.ID, Videos.DURATION_SECONDS) if c in videos.columns).with_row_index(INDEX)
    joined = events.join(known.lazy(), on=Videos.ID, how="left", maintain_order="left")
    columns = joined.collect_schema().names()
    weight = strength(params.grades, params.positives, columns).alias(WEIGHT)
    milliseconds = pl.col(Events.TIME).dt.epoch("ms")
    positive = joined.filter(is_positive(params.positives, columns))
    told = [name for name in CONTEXTS if name in columns]
    found = positive.select(Events.USER, INDEX, milliseconds, weight, *told).collect()
    pairs = Pairs(
        ids=found[Events.USER].unique(maintain_order=True),
        viewers=found[Events.USER].rle_id().to_numpy().astype(np.int64),
        videos=found[INDEX].to_numpy().astype(np.int64),
        times=found[Events.TIME].to_numpy(),
        weights=found[WEIGHT].to_numpy(),
        contexts={name: context_codes(found[name]) for name in told if found[name].null_count() < len(found)},
    )
    return often_enough(_firsts(pairs, len(videos)), params)


def context_codes(names: pl.Series) -> NDArray[np.int32]:
    """`[n]` int32: the same number for the same name in every snapshot, -1 where there is none or a blank."""
    known = names.is_not_null() & (names.str.strip_chars() != "")
    distinct = names.filter(known).unique().sort()
    codes = np.append((stable_hash(distinct) % np.uint64(2**31)).astype(np.int32), np.int32(-1))
    places = distinct.search_sorted(names.fill_null("")).to_numpy()
    return np.where(known.fill_null(False).to_numpy(), codes[places], np.int32(-1))


def is_positive(rules: Positives, columns: list[str]) -> pl.Expr:
    """Any rule that is set holds, or none is set; and the event is not disliked. A rule without its column fails."""
    chosen: list[pl.Expr] = []
    if rules.liked:
        chosen.append(pl.col(Events.LIKED))
    if rules.rating_at_least is not None:
        chosen.append(pl.col(Events.RATING) >= rules.rating_at_least)
    if rules.watch_ratio_at_least is not None:
        chosen.append(_share_watched() >= rules.watch_ratio_at_least)
    usable = [rule.fill_null(False) for rule in chosen if set(rule.meta.root_names()) <= set(columns)]
    positive = pl.any_horizontal(pl.lit(not chosen), *usable)
    return positive & ~pl.col(Events.DISLIKED).fill_null(False) if Events.DISLIKED in columns else positive


def strength(grades: Grades, rules: Positives, columns: list[str]) -> pl.Expr:
    """A positive's weight, float32, from its own event alone: what the viewer did later is not known yet."""
    done = {Events.LIKED: grades.liked, Events.FOLLOWED: grades.followed}
    done |= {Events.COMMENTED: grades.commented, Events.SHARED: grades.shared}
    terms = [pl.col(name).cast(pl.Float64) * weight for name, weight in done.items() if weight]
    if grades.rating:
        terms.append((pl.col(Events.RATING) - (rules.rating_at_least or 0.0)).clip(lower_bound=0.0) * grades.rating)
    if grades.finished:
        terms.append(_share_watched().clip(0.0, 1.0) * grades.finished)
    usable = [term.fill_null(0.0) for term in terms if set(term.meta.root_names()) <= set(columns)]
    return pl.sum_horizontal(pl.lit(1.0), *usable).cast(pl.Float32)


def _share_watched() -> pl.Expr:
    """Seconds watched over the video's length; null where either is unknown, as a length of 0 is."""
    return pl.col(Events.WATCH_SECONDS) / pl.when(pl.col(Videos.DURATION_SECONDS) > 0).then(Videos.DURATION_SECONDS)


def often_enough(pairs: Pairs, params: Prepare) -> Pairs:
    """Leave out rare viewers and videos until every one that is left has enough positives among what is left."""
    while True:
        of_viewer, of_video = np.bincount(pairs.viewers), np.bincount(pairs.videos)
        enough = of_viewer[pairs.viewers] >= params.min_viewer_events
        enough &= of_video[pairs.videos] >= params.min_video_events
        if enough.all():
            return pairs
        pairs = pairs.where(enough)


def _firsts(pairs: Pairs, n_videos: int) -> Pairs:
    first = pl.Series(pairs.viewers * n_videos + pairs.videos).is_first_distinct()
    return pairs.where(first.to_numpy())
