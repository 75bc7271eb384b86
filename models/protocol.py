"""What every recommender can do: one small protocol.

A recommender is a pair of maps into one space: viewers to vectors by their history, videos to vectors, and the score
is their dot product. Vectors are dense (a sequence model's, `[n, d]`) or sparse (an item-to-item model's, whose space
has one axis a video), so one piece of code ranks for all of them and an index can be built for each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.feedback import Feedback, VideoFacts
from models.places import Places
from models.sequences import Sequences
from models.video_content import VideoContent

Vectors = NDArray[np.float32] | sp.csr_array


class Diverged(ArithmeticError):
    """Training left the finite numbers, or ran out of memory: this candidate fails, the run goes on."""


@dataclass(frozen=True)
class Training:
    """What a fit may read.

    Attributes:
        train: histories to learn from.
        valid: held-back positives of the same viewers, for early stopping; may be empty for every viewer.
        n_videos: size of the vocabulary.
        now: milliseconds since 1970 UTC at which the training data ends; time decay counts back from it.
        seed: of every random draw.
        content: vectors of the catalogue, whose first `n_videos` rows are the vocabulary; None where none were made.
        facts: what the catalogue says of the vocabulary's videos; None where nobody asked.
        feedback: what viewers of `train` did with videos they were shown, before what is held out; None likewise.
        places: regions by hour; None likewise.
        checkpoints: folder where a long training keeps its state, so that a killed one goes on.
        on_epoch: called as `on_epoch(epoch, epochs, metrics)` after each epoch; `epoch` counts from 1.
    """

    train: Sequences
    valid: Sequences
    n_videos: int
    now: int
    seed: int
    content: VideoContent | None = None
    facts: VideoFacts | None = None
    feedback: Feedback | None = None
    places: Places | None = None
    checkpoints: Path | None = None
    on_epoch: Callable[[int, int, dict[str, float]], None] = field(default=lambda *_: None)

    def history(self) -> Sequences:
        """All that is known: `train` and `valid` together, for models that stop nothing early."""
        return self.train.merged(self.valid)


class Recommender(Protocol):
    """A trained or trainable recommender. Implementations: one file each in `models/`."""

    def fit(self, data: Training) -> dict[str, Any]:
        """Train in place.

        Returns:
            Facts about the training, JSON types only; `"epochs"` lists metrics by epoch where there are epochs,
            `"device"` names what it ran on.

        Raises:
            Diverged: the loss or a weight is not finite.
        """

    def viewer_vectors(self, histories: Sequences) -> Vectors:
        """`[viewers, d]` for any viewers, seen in training or not (fold-in)."""

    def video_vectors(self) -> Vectors:
        """`[videos, d]`, in vocabulary order."""

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`; equal weights give equal bytes."""

    @classmethod
    def load(cls, folder: Path) -> "Recommender":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
