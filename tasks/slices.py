"""Which slice of the viewers each one is in. Depends on the prepared data only, so that all evaluations share them."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.sequences import Sequences

ACTIVITY, VIDEO_AGE, VIDEO_POPULARITY = "activity", "video_age", "video_popularity"
SLICED_BY = (ACTIVITY, VIDEO_AGE, VIDEO_POPULARITY)
LABELS = ("low", "mid", "high")


def viewer_slices(
    history: Sequences,
    relevant: Sequences,
    *,
    first_seen: NDArray[np.int64],
    train_events: NDArray[np.int64],
    now: int,
) -> pl.DataFrame:
    """Label each viewer low, mid or high three ways.

    Args:
        history: `[viewers]` what was known of each viewer; its length is the activity.
        relevant: `[viewers]` what each went on to watch, at least one video each; gives the mean age and popularity.
        first_seen: `[videos]` milliseconds since 1970 UTC of each video's first event.
        train_events: `[videos]` training positives of each video.
        now: milliseconds since 1970 UTC from which age counts.

    Returns:
        `activity`, `video_age`, `video_popularity`: String, one row a viewer.
    """
    values = {
        ACTIVITY: history.lengths.astype(np.float64),
        VIDEO_AGE: _mean_of(now - first_seen, relevant),
        VIDEO_POPULARITY: _mean_of(train_events, relevant),
    }
    return pl.DataFrame({name: [LABELS[third] for third in thirds(of)] for name, of in values.items()}, schema=_SCHEMA)


_SCHEMA = {name: pl.String() for name in SLICED_BY}


def _mean_of(by_video: NDArray[np.int64], relevant: Sequences) -> NDArray[np.float64]:
    """`[viewers]` mean over each viewer's videos. Integers are summed, so the order of events changes no bit."""
    totals = np.add.reduceat(by_video[relevant.videos], relevant.offsets[:-1])
    means: NDArray[np.float64] = totals / relevant.lengths
    return means


def thirds(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """`[n]` 0, 1 or 2: the third of the ranking that each value is in. Equal values share their middle rank's third,
    so with many ties a third can be empty.
    """
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    # (below + up_to) / 2 is the middle of the ties' ranks; in integers no rounding can split a tie.
    found: NDArray[np.int64] = 3 * (below + up_to) // (2 * len(values))
    return found
