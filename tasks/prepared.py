"""What `prepare` leaves and every later step reads: vocabulary, viewers, sequences and their split."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.sequences import Sequences
from tasks.split import HOLDOUT, TRAIN, VALID


@dataclass(frozen=True)
class Prepared:
    """The folder `data/prepared`; arrays are memory-mapped, tables read on first use."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Counts, the split's kind and digest, and `now`, the time at which training data ends."""
        facts: dict[str, Any] = json.loads((self.folder / "prepared.json").read_text(encoding="utf-8"))
        return facts

    @cached_property
    def videos(self) -> pl.DataFrame:
        """The vocabulary: row `i` is video index `i`."""
        return pl.read_parquet(self.folder / "videos.parquet")

    @cached_property
    def viewers(self) -> pl.DataFrame:
        """Row `i` is viewer index `i`."""
        return pl.read_parquet(self.folder / "viewers.parquet")

    @cached_property
    def sequences(self) -> Sequences:
        """All positives of all viewers."""
        return Sequences.load(self.folder / "sequences")

    @cached_property
    def split(self) -> NDArray[np.uint8]:
        """`[events]` uint8: `TRAIN`, `VALID`, `HOLDOUT` or `FOLD_IN`."""
        split: NDArray[np.uint8] = np.load(self.folder / "split.npy", mmap_mode="r", allow_pickle=False)
        return split

    def train(self) -> Sequences:
        """What models learn from."""
        return self.sequences.where(self.split == TRAIN)

    def valid(self) -> Sequences:
        """What early stopping looks at."""
        return self.sequences.where(self.split == VALID)

    def history(self) -> Sequences:
        """What is known of each viewer when the holdout begins: all else, of held-out viewers what is folded in."""
        return self.sequences.where(self.split != HOLDOUT)

    def holdout(self) -> Sequences:
        """What the recommendations are held against."""
        return self.sequences.where(self.split == HOLDOUT)
