"""Frame features in few dimensions: principal components of what was seen in training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Components:
    """The directions in which unit features of training frames differ most.

    Attributes:
        mean: `[features]` of the training frames, each of unit length.
        axes: `[features, dim]`, orthonormal.
        scale: `[1]`, what brings the mean variance of a component to 1; it leaves ratios of distances alone.
    """

    mean: Features
    axes: Features
    scale: Features

    def points(self, features: Features) -> Features:
        """`[..., dim]` of `features` `[..., features]`."""
        return np.asarray((unit(features) - self.mean) @ self.axes / self.scale, np.float32)

    def arrays(self) -> dict[str, Features]:
        """What `Components(**arrays)` makes anew."""
        return {"mean": self.mean, "axes": self.axes, "scale": self.scale}


PARTS = ("mean", "axes", "scale")


def fit_components(features: Features, *, dim: int) -> Components:
    """The first `dim` principal components of `features` `[n, features]`.

    Raises:
        ValueError: there are too few frames or features for so many components.
    """
    rows = unit(features).astype(np.float64)
    if not 1 <= dim < min(rows.shape):
        raise ValueError(f"dim must lie below frames and features. Received: dim={dim}, features={rows.shape}")
    mean = rows.mean(axis=0)
    _, spread, axes = np.linalg.svd(rows - mean, full_matrices=False)
    scale = max(float(np.sqrt(np.square(spread[:dim]).mean() / len(rows))), np.finfo(np.float32).eps)
    return Components(mean.astype(np.float32), _upright(axes[:dim]).T.astype(np.float32), np.array([scale], np.float32))


def _upright(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest entry of each row positive: which of two opposite directions comes out is up to LAPACK."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return axes * np.sign(largest)


def unit(features: Features) -> Features:
    """Rows of unit length; a row of zeros stays."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    told: Features = features / np.maximum(norms, np.finfo(np.float32).tiny)
    return told
