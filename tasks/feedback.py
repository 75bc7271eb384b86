"""What viewers did with videos they were shown, as a ranker learns from it; nothing of what it is judged by."""

from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from models.feedback import FINISHED, TOLD, WATCH, Feedback, VideoFacts
from models.sequences import Sequences
from tasks.metrics import terms_of
from tasks.schema import Events, Videos
from tasks.split import FOLD_IN, HOLDOUT

FEEDBACK = "feedback.parquet"
VIEWER, VIDEO = "viewer", "video"


def leave_feedback(
    out: Path,
    events: pl.LazyFrame,
    viewers: pl.Series,
    videos: pl.DataFrame,
    *,
    sequences: Sequences,
    split: NDArray[np.uint8],
    kind: str,
) -> None:
    """Write `feedback.parquet` into the folder `out`: events that tell anything, of known viewers and videos.

    An event is left out where the split holds it back: by its time where the split is one in time, by its pair of
    viewer and video in any; and all events of a viewer of whom nothing is learnt.

    Args:
        events: accepted.
        viewers, videos: by index.
        sequences: all positives.
        split: `[positives]` the part of each.
        kind: of the split.
    """
    known = events.join(_indexed(viewers, VIEWER), on=Events.USER)
    known = known.join(_indexed(videos[Videos.ID], VIDEO), on=Events.VIDEO)
    if Videos.DURATION_SECONDS in videos.columns:
        known = known.join(videos.lazy().select(Videos.ID, Videos.DURATION_SECONDS), on=Events.VIDEO)
    told = _told(known.collect_schema().names())
    tells = pl.any_horizontal(pl.lit(False), *(one.is_not_null() for one in told))
    rows = known.filter(tells).select(VIEWER, VIDEO, pl.col(Events.TIME).dt.epoch("ms"), *told)
    found = rows.sort(VIEWER, Events.TIME, VIDEO).collect()
    held = _held_back(found, sequences, split, kind=kind)
    found.filter(~pl.Series(held, dtype=pl.Boolean)).write_parquet(out / FEEDBACK)


def read_feedback(prepared: Path) -> Feedback:
    """What `leave_feedback` wrote."""
    rows = pl.read_parquet(prepared / FEEDBACK)
    told = {name: rows[name].fill_null(np.nan).to_numpy() for name in TOLD if name in rows.columns}
    indices = rows[VIEWER].to_numpy().astype(np.int64), rows[VIDEO].to_numpy().astype(np.int32)
    return Feedback(*indices, rows[Events.TIME].to_numpy(), told)


def video_facts(videos: pl.DataFrame) -> VideoFacts:
    """What the vocabulary `videos` says of its videos."""
    facts = VideoFacts.unknown(videos.height)
    uploaded, seconds = facts.uploaded, facts.seconds
    if Videos.UPLOADED_AT in videos.columns:
        uploaded = videos[Videos.UPLOADED_AT].dt.epoch("ms").fill_null(-1).to_numpy()
    if Videos.DURATION_SECONDS in videos.columns:
        seconds = videos[Videos.DURATION_SECONDS].fill_null(np.nan).to_numpy().astype(np.float32)
    return VideoFacts(uploaded, np.where(seconds > 0, seconds, np.float32(np.nan)), _topics(videos))


def _topics(videos: pl.DataFrame) -> sp.csr_array:
    terms = terms_of(videos)
    rows, columns = terms["video"].to_numpy(), terms["term"].rank("dense").to_numpy().astype(np.int64) - 1
    share = 1 / np.bincount(rows, minlength=videos.height)[rows]
    shape = (videos.height, terms["term"].n_unique())
    return sp.csr_array((share.astype(np.float32), (rows, columns)), shape=shape)


def _indexed(ids: pl.Series, name: str) -> pl.LazyFrame:
    return ids.to_frame().lazy().with_row_index(name)


def _told(columns: list[str]) -> list[pl.Expr]:
    """What the source tells, by the names of `models.feedback.TOLD`."""
    seconds, length = pl.col(Events.WATCH_SECONDS), pl.col(Videos.DURATION_SECONDS)
    told = {
        WATCH: seconds.log1p(),
        FINISHED: pl.when(length > 0).then(seconds >= length),
        **{name: pl.col(name) for name in TOLD if name not in (WATCH, FINISHED)},
    }
    there = {name: one for name, one in told.items() if set(one.meta.root_names()) <= set(columns)}
    return [one.cast(pl.Float32).alias(name) for name, one in there.items()]


def _held_back(found: pl.DataFrame, sequences: Sequences, split: NDArray[np.uint8], *, kind: str) -> NDArray[np.bool_]:
    """`[rows]` of `found`: what may not be learnt from."""
    viewers, videos = found[VIEWER].to_numpy().astype(np.int64), found[VIDEO].to_numpy().astype(np.int64)
    of_event, held = sequences.viewer_of_event(), split == HOLDOUT
    span = np.int64(sequences.videos.max()) + 1
    back = np.isin(viewers * span + videos, (of_event * span + sequences.videos)[held])
    if kind == "viewers":
        return back | np.isin(viewers, of_event[held | (split == FOLD_IN)])
    if kind == "random":
        return back
    first = sequences.where(held).oldest()
    since = np.full_like(first, first.min()) if kind == "time" else first
    too_late: NDArray[np.bool_] = found[Events.TIME].to_numpy() >= since[viewers]
    return back | too_late
