"""Frames as words: k-means, so that the next frame can be a choice out of k rather than a point in space.

Lloyd, Least squares quantization in PCM, 1982, from the seeding of Arthur and Vassilvitskii, k-means++: the advantages
of careful seeding, SODA 2007.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

SWEEPS = 100


def fit_codebook(points: NDArray[np.floating], *, size: int, seed: int) -> NDArray[np.float32]:
    """`[size, dim]` centres of `points` `[n, dim]`; equal points and seed give equal centres, to the last bit.

    A centre that loses all its points moves to the point that is furthest from its own centre, so all are of use.

    Raises:
        ValueError: there are fewer different points than centres.
    """
    different = len(np.unique(points, axis=0))
    if not 1 <= size <= different:
        raise ValueError(f"size must lie in 1..{different}, the different points. Received: size={size}")
    cloud = points.astype(np.float64)
    centres = _seeded(cloud, size, np.random.default_rng(seed))
    codes = np.full(len(cloud), -1)
    for _ in range(SWEEPS):
        distances = squared_distances(cloud, centres)
        before, codes = codes, distances.argmin(axis=1)
        if np.array_equal(before, codes):
            break
        centres = _means(cloud, codes, distances, centres)
    return centres.astype(np.float32)


def nearest_code(points: NDArray[np.floating], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    """`[n]`: which of `centres` `[size, dim]` each of `points` `[n, dim]` is closest to; of equals the first."""
    distances = squared_distances(points.astype(np.float64), centres.astype(np.float64))
    return np.asarray(distances.argmin(axis=1), np.int32)


def squared_distances(points: Points, centres: Points) -> Points:
    """`[n, size]` squared Euclidean distances, not below 0."""
    products = points @ centres.T
    told: Points = np.square(points).sum(1)[:, None] - 2 * products + np.square(centres).sum(1)
    return np.maximum(told, 0)


def _seeded(points: Points, size: int, rng: np.random.Generator) -> Points:
    """Points drawn one after another, each with a chance that grows with the square of its distance to those before."""
    chosen = [int(rng.integers(len(points)))]
    nearest = np.square(points - points[chosen[0]]).sum(axis=1)
    while len(chosen) < size:
        chosen.append(int(np.searchsorted(np.cumsum(nearest), rng.random() * nearest.sum(), side="right")))
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(axis=1))
    return points[chosen]


def _means(points: Points, codes: NDArray[np.int64], distances: Points, centres: Points) -> Points:
    moved = centres.copy()
    furthest = iter(np.argsort(-distances[np.arange(len(points)), codes], kind="stable"))
    for code in range(len(centres)):
        own = points[codes == code]
        moved[code] = own.mean(axis=0) if len(own) else points[next(furthest)]
    return moved
