"""The task `category`: which category a video is of. p(category) ~ exp(s (W v) + b) over the unit vector v, s fixed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, keras
from models.tuning import SHARPNESS, Examples, Head, Parts, Vectors

ITEM = "item"
LABELS = "labels"

Labels = NDArray[np.int32]

ops = keras.ops


@dataclass(frozen=True)
class Categories:
    """A `models.tuning.Goal`: the number of each item's category, learnt by cross-entropy.

    Attributes:
        train, valid: of the items' rows, each with its label.
        count: how many categories there are.
    """

    train: Examples
    valid: Examples
    count: int

    @classmethod
    def of(cls, labels: Labels, parts: Parts, *, count: int) -> "Categories":
        """The task over items of which row `i` has `labels[i]`."""
        train, valid = (Examples({ITEM: rows}, {LABELS: labels[rows]}) for rows in (parts.train, parts.valid))
        return cls(train, valid, count)

    def head(self, dim: int) -> "Choice":
        """See `models.tuning.Goal`."""
        return Choice(dim, self.count)


class Choice(Head):
    """Inputs `item` `[batch, dim]` of unit length, and `labels`; output logits `[batch, categories]`."""

    sides = (ITEM,)

    def __init__(self, dim: int, categories: int) -> None:
        super().__init__(name="choice")
        self.choice = keras.layers.Dense(categories, kernel_initializer="zeros", name="choice")
        self.choice.build((None, dim))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        return self.choice(SHARPNESS * inputs[ITEM])

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean cross-entropy: a float32 scalar."""
        return ops.mean(keras.losses.sparse_categorical_crossentropy(x[LABELS], y_pred, from_logits=True))

    def predict_labels(self, vectors: Vectors) -> Labels:
        """`[n]`: the likeliest category of each of the (tuned) encoder's `vectors` `[n, dim]`."""
        logits = SHARPNESS * vectors @ array_of(self.choice.kernel) + array_of(self.choice.bias)
        return np.asarray(logits.argmax(axis=1), np.int32)
