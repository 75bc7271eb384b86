"""Prepare: vocabularies, viewers' sequences as memory-mapped arrays, and the split."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import Refused
from models.sequences import Sequences
from tasks import paths
from tasks.feedback import leave_feedback
from tasks.params import Prepare, load_params
from tasks.positives import Pairs, find_positives
from tasks.schema import Events, Videos
from tasks.snapshot_index import index_snapshot
from tasks.split import HOLDOUT, TRAIN, VALID, split_digest, split_positives
from tasks.stage import new_folder, stage, write_json

FIRST_SEEN = "first_seen"
TRAIN_EVENTS = "train_events"
log = logging.getLogger(__name__)


def prepare(accepted: Path, out: Path, metrics: Path, *, params: Prepare, seed: int) -> None:
    """Make `out`, the folder that `tasks.prepared.Prepared` reads, from the accepted tables.

    A viewer's first positive of a video counts, further ones do not. Ties in time keep the order of the accepted
    events, which is that of their files.

    Args:
        accepted: `events.parquet`, sorted by user and time, and `videos.parquet`.
        out: made anew.
        metrics: gets the counts and the split's digest.
        params: what counts as a positive, and the split.
        seed: of the split `random`.

    Raises:
        Refused: too little data to learn from and to judge by.
    """
    events = pl.scan_parquet(accepted / "events.parquet")
    videos = vocabulary(pl.read_parquet(accepted / "videos.parquet"), events)
    pairs = find_positives(events, videos, params)
    sequences, viewers, videos = _compact(pairs, videos)
    _refuse_too_small(len(viewers), len(videos))
    split = split_positives(sequences, viewers, videos[Videos.ID], params=params, seed=seed)
    counts = split_counts(sequences, split)
    _refuse_unjudgeable(counts, params)
    facts: dict[str, Any] = {
        "split": params.split,
        "split_digest": split_digest(sequences, split, viewers, videos[Videos.ID]),
        "events": len(sequences.videos),
        "viewers": len(viewers),
        "videos": len(videos),
        "now": int(sequences.times[split == TRAIN].max()),
        "as_of": str(events.select(pl.col(Events.DAY).max()).collect().item()),
    }
    learnt = np.bincount(sequences.videos[split == TRAIN], minlength=len(videos))
    videos = videos.with_columns(pl.Series(TRAIN_EVENTS, learnt, pl.Int64))
    write_prepared(out, videos, viewers, sequences, split, facts)
    leave_feedback(out, events, viewers, videos, sequences=sequences, split=split, kind=params.split)
    write_json(metrics, facts | counts)
    log.info("%d positives of %d viewers and %d videos", facts["events"], facts["viewers"], facts["videos"])


def vocabulary(catalogue: pl.DataFrame, events: pl.LazyFrame) -> pl.DataFrame:
    """The videos of `catalogue` that have events, in order of their first one, `first_seen` (ms), then of their id."""
    first = pl.col(Events.TIME).min().dt.epoch("ms").alias(FIRST_SEEN)
    seen = events.group_by(Events.VIDEO).agg(first).collect()
    if Videos.TITLE not in catalogue.columns:
        catalogue = catalogue.with_columns(pl.lit(None, pl.String).alias(Videos.TITLE))
    return catalogue.join(seen, on=Videos.ID).sort(FIRST_SEEN, Videos.ID)


def split_counts(sequences: Sequences, split: NDArray[np.uint8]) -> dict[str, int]:
    """Positives by part, viewers who can be judged by (a holdout and a history), and holdouts without a history."""
    held = np.bincount(sequences.viewer_of_event()[split == HOLDOUT], minlength=sequences.n_viewers)
    known = sequences.lengths - held
    return {
        "train": int((split == TRAIN).sum()),
        "valid": int((split == VALID).sum()),
        "holdout": int((split == HOLDOUT).sum()),
        "holdout_viewers": int(((held > 0) & (known > 0)).sum()),
        "holdout_viewers_without_history": int(((held > 0) & (known == 0)).sum()),
    }


def _compact(pairs: Pairs, videos: pl.DataFrame) -> tuple[Sequences, pl.Series, pl.DataFrame]:
    # Renumber to the viewers and videos that have a positive left, in the order they had.
    watched, video = np.unique(pairs.videos, return_inverse=True)
    watching, viewer = np.unique(pairs.viewers, return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(viewer, minlength=len(watching)))]).astype(np.int64)
    sequences = Sequences(offsets, video.astype(np.int32), pairs.times, pairs.weights, pairs.contexts)
    return sequences, pairs.ids[watching], videos[watched]


def _refuse_too_small(viewers: int, videos: int) -> None:
    if viewers < 2 or videos < 2:
        raise Refused(
            "Too little to learn from: at least 2 viewers and 2 videos must have positives (see prepare.positives, "
            "prepare.min_viewer_events and prepare.min_video_events in params.yaml). "
            f"Received: {viewers} viewers and {videos} videos."
        )


def _refuse_unjudgeable(counts: Mapping[str, int], params: Prepare) -> None:
    if counts["train"] == 0:
        raise Refused(f"The {params.split} split leaves nothing to learn from. Received: {counts['holdout']} positives")
    if counts["holdout_viewers"] < params.min_holdout_viewers:
        raise Refused(
            f"Too few viewers to judge by: at least {params.min_holdout_viewers} (prepare.min_holdout_viewers) must "
            f"have positives on both sides of the {params.split} split. Received: {counts['holdout_viewers']}"
        )


def write_prepared(
    out: Path,
    videos: pl.DataFrame,
    viewers: pl.Series,
    sequences: Sequences,
    split: NDArray[np.uint8],
    facts: Mapping[str, Any],
) -> None:
    """Write what `tasks.prepared.Prepared` reads into the folder `out`, made anew."""
    new_folder(out)
    videos.write_parquet(out / "videos.parquet")
    viewers.to_frame(Events.USER).write_parquet(out / "viewers.parquet")
    sequences.save(out / "sequences")
    np.save(out / "split.npy", split, allow_pickle=False)
    write_json(out / "prepared.json", facts)


def main() -> None:
    """The stage's command."""
    params = load_params(Path("params.yaml"))
    prepare(paths.ACCEPTED, paths.PREPARED, paths.PREPARE_METRICS, params=params.prepare, seed=params.seed)
    index_snapshot(paths.ACCEPTED, paths.QUARANTINE, paths.SNAPSHOT_INDEX)


if __name__ == "__main__":
    stage(main)
