"""A source of made-up events as large as one asks for, in the data contract: Parquet, one file a day.

    python -m benchmarks.generate build/ten-million

10 million events of 200,000 users and 50,000 videos over 30 days. How often a video is watched falls with its rank by a
power law, `1 / (rank + 20) ** 0.8`; how active a user is, is log-normal. Nothing else is in it: no taste can be learnt,
so it shows memory and speed and says nothing of quality. A day is drawn by seed and day alone, so that memory holds one
day and the same arguments give the same rows.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
EXPONENT, FLATTENED = 0.8, 20  # without the shift the first few videos would have most of the events


@dataclass(frozen=True)
class Size:
    """How much is drawn, and the seed of it."""

    users: int = 200_000
    videos: int = 50_000
    events: int = 10_000_000
    days: int = 30
    seed: int = 0


@dataclass(frozen=True)
class Day:
    """The events of one day by time: ids from 0, times in milliseconds since 1970; all `[events]`."""

    date: str
    users: NDArray[np.int32]
    videos: NDArray[np.int32]
    times: NDArray[np.int64]


def days(size: Size) -> Iterator[Day]:
    """The days one after another."""
    draw = np.random.default_rng(size.seed)
    active = np.cumsum(draw.lognormal(0, 1, size.users))
    popular = np.cumsum((np.arange(size.videos) + FLATTENED) ** -EXPONENT)
    ids = draw.permutation(size.videos).astype(np.int32)  # a low id shall not tell that a video is popular
    bounds = np.linspace(0, size.events, size.days + 1).astype(np.int64)
    for day, events in enumerate(np.diff(bounds)):
        rng = np.random.default_rng([size.seed, day])
        begins = FIRST_DAY + timedelta(days=day)
        times = np.sort(rng.integers(0, DAY_MS, events)) + int(begins.timestamp() * 1000)
        videos = ids[_drawn(popular, events, rng)]
        yield Day(f"{begins:%Y-%m-%d}", _drawn(active, events, rng).astype(np.int32), videos, times)


def _drawn(cumulated: NDArray[np.float64], events: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`[events]` places, each as probable as its share of the sum whose running totals are `cumulated`."""
    return np.searchsorted(cumulated, rng.random(events) * cumulated[-1], side="right")


def leave_source(folder: Path, size: Size) -> None:
    """Write `events/DAY.parquet` and `videos.parquet` into `folder`, as `docs/data.md` says."""
    import polars as pl

    (folder / "events").mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"video_id": np.arange(size.videos)}).write_parquet(folder / "videos.parquet")
    for day in days(size):
        events = {"user_id": day.users, "video_id": day.videos, "timestamp": day.times}
        table = pl.DataFrame(events).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
        table.write_parquet(folder / "events" / f"{day.date}.parquet")


def main() -> None:
    """Leave the source where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in vars(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = vars(parser.parse_args())
    folder = asked.pop("folder")
    if min(asked["users"], asked["videos"], asked["events"], asked["days"]) < 1:
        parser.error("--users, --videos, --events and --days must be 1 or more")
    leave_source(folder, Size(**asked))


if __name__ == "__main__":
    main()
