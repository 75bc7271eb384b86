"""What `encode` leaves and later steps read: content vectors of the whole catalogue, and what is absent and why."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.video_content import VideoContent

FACTS = "encoded.json"
ABSENT = "absent.parquet"
CATALOGUE = "catalogue.parquet"


@dataclass(frozen=True)
class Encoded:
    """The folder `data/encoded`; arrays are memory-mapped."""

    folder: Path

    @cached_property
    def catalogue(self) -> pl.DataFrame:
        """Every video: the vocabulary in its order, then those that nobody has watched."""
        return pl.read_parquet(self.folder / CATALOGUE)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`modalities`: for each its `dim`, `encoder` (SHA-256), `licence` and how many videos have it."""
        facts: dict[str, Any] = json.loads((self.folder / FACTS).read_text(encoding="utf-8"))
        return facts

    @cached_property
    def absent(self) -> pl.DataFrame:
        """`video_id`, `modality`, `reason`: what a video was meant to have and could not be given."""
        return pl.read_parquet(self.folder / ABSENT)

    def content(self) -> VideoContent:
        """The vectors, in the rows of `catalogue`."""
        modalities = self.facts["modalities"]
        vectors = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in modalities}
        return VideoContent(vectors, {name: told["encoder"] for name, told in modalities.items()})
