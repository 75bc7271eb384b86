"""Which events are positives, each viewer's first of a video, and which are left out as too rare."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.params import Positives, Prepare
from tasks.schema import Events, Videos

INDEX = "__index__"


@dataclass(frozen=True)
class Pairs:
    """Positives in the order of events: by viewer, then time.

    Attributes:
        ids: user id of each viewer number.
        viewers: `[events]` int64, viewer numbers, ascending.
        videos: `[events]` int64, rows of the vocabulary.
        times: `[events]` int64, milliseconds.
    """

    ids: pl.Series
    viewers: NDArray[np.int64]
    videos: NDArray[np.int64]
    times: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_]) -> "Pairs":
        """The positives under the mask `keep` `[events]`."""
        return Pairs(self.ids, self.viewers[keep], self.videos[keep], self.times[keep])


def find_positives(events: pl.LazyFrame, videos: pl.DataFrame, params: Prepare) -> Pairs:
    """The positives among `events`, which are sorted by user and time and whose videos are all rows of `videos`."""
    known = videos.select(c for c in (Videos.ID, Videos.DURATION_SECONDS) if c in videos.columns).with_row_index(INDEX)
    joined = events.join(known.lazy(), on=Videos.ID, how="left", maintain_order="left")
    positive = is_positive(params.positives, joined.collect_schema().names())
    milliseconds = pl.col(Events.TIME).dt.epoch("ms")
    found = joined.filter(positive).select(Events.USER, INDEX, milliseconds).collect()
    pairs = Pairs(
        ids=found[Events.USER].unique(maintain_order=True),
        viewers=found[Events.USER].rle_id().to_numpy().astype(np.int64),
        videos=found[INDEX].to_numpy().astype(np.int64),
        times=found[Events.TIME].to_numpy(),
    )
    return often_enough(_firsts(pairs, len(videos)), params)


def is_positive(rules: Positives, columns: list[str]) -> pl.Expr:
    """Any rule that is set holds, or none is set; and the event is not disliked. A rule without its column fails."""
    chosen: list[pl.Expr] = []
    if rules.liked:
        chosen.append(pl.col(Events.LIKED))
    if rules.rating_at_least is not None:
        chosen.append(pl.col(Events.RATING) >= rules.rating_at_least)
    if rules.watch_ratio_at_least is not None:
        # A duration of 0 is an unknown one.
        duration = pl.when(pl.col(Videos.DURATION_SECONDS) > 0).then(Videos.DURATION_SECONDS)
        chosen.append(pl.col(Events.WATCH_SECONDS) / duration >= rules.watch_ratio_at_least)
    usable = [rule.fill_null(False) for rule in chosen if set(rule.meta.root_names()) <= set(columns)]
    positive = pl.any_horizontal(pl.lit(not chosen), *usable)
    return positive & ~pl.col(Events.DISLIKED).fill_null(False) if Events.DISLIKED in columns else positive


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
