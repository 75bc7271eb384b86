"""Scores as chances: Platt's line through the log-odds, and how far chances are from what came true.

Platt, Probabilistic outputs for support vector machines (Advances in large margin classifiers, 1999): with the logit
`z`, p = sigmoid(slope z + offset), fitted by maximum likelihood to labels that the network was not trained on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Values = NDArray[np.float32]

# Keeps the line finite where labels and logits part cleanly; too weak to be felt where they do not.
PRIOR = 1e-3


@dataclass(frozen=True)
class Line:
    """`slope z + offset`."""

    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def to_unit(cls, values: Values) -> "Line":
        """The line that gives `values` `[n]` mean 0 and deviation 1; a deviation of 0 stays."""
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)) or 1.0
        return cls(1 / deviation, -mean / deviation)

    def back(self) -> "Line":
        """What undoes this line."""
        return Line(1 / self.slope, -self.offset / self.slope)

    def after(self, first: "Line") -> "Line":
        """`first`, and this line of what that gave."""
        return Line(self.slope * first.slope, self.slope * first.offset + self.offset)

    def __call__(self, values: Values) -> Values:
        """`[n]` float32."""
        return (np.float32(self.slope) * values + np.float32(self.offset)).astype(np.float32)


def fit_chances(logits: Values, labels: Values) -> Line:
    """Platt's line for yes or no `labels` `[n]` of 0 and 1; the line that changes nothing where they are all alike."""
    if not len(labels) or labels.min() == labels.max():
        return Line()
    z, y = logits.astype(np.float64), labels.astype(np.float64)

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        told = line[0] * z + line[1]
        off = expit(told) - y
        pull = PRIOR * (line - [1.0, 0.0])
        mean = float(np.mean(np.logaddexp(0, told) - y * told) + pull @ (line - [1.0, 0.0]) / 2)
        return mean, np.array([np.mean(off * z), np.mean(off)]) + pull

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return Line(float(slope), float(offset))


def fit_values(told: Values, truth: Values) -> Line:
    """The line of least squares from `told` `[n]` to `truth`; one that changes nothing where `told` is constant."""
    if len(told) < 2 or np.ptp(told) == 0:
        return Line()
    slope, offset = np.polyfit(told.astype(np.float64), truth.astype(np.float64), 1)
    return Line(float(slope), float(offset))


def calibration_error(chances: Values, labels: Values, *, bins: int = 15) -> float:
    """Expected calibration error: mean distance of chance and frequency over bins of equally many, 0 without any.

    (Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015, with
    bins of equal mass, since most chances are small.)
    """
    order = np.argsort(chances, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    off = [len(part) * abs(float(chances[part].mean()) - float(labels[part].mean())) for part in parts]
    return sum(off) / max(len(labels), 1)
