"""How well labels were guessed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = Sequence[Any] | NDArray[Any]


def macro_f1(truth: Labels, guess: Labels) -> float:
    """Mean F1 over the labels of `truth`, each counting the same; a label that is never guessed rightly has 0."""
    true, said = np.asarray(truth, dtype=object), np.asarray(guess, dtype=object)
    scores = []
    for label in np.unique(true):
        both = np.sum((true == label) & (said == label))
        scores.append(2 * both / (np.sum(true == label) + np.sum(said == label)))
    return float(np.mean(scores)) if scores else 0.0


def accuracy(truth: Labels, guess: Labels) -> float:
    """Share of `truth` that was guessed."""
    return float(np.mean(np.asarray(truth, dtype=object) == np.asarray(guess, dtype=object)))
