"""Where and when viewers watch: regions by hour of the day as a graph of their steps from one to the next.

A node is a region in one hour of the day (UTC), number `24 * region + hour`; an edge counts how often a viewer's next
event was there. Nothing else of a viewer goes into it.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from models.decay import decay
from models.sparse import NAMES, csr_arrays
from models.transition_vectors import transition_vectors
from models.weights import CONFIG, WEIGHTS, Arrays, load_arrays, load_config, save_weights

HOURS = 24
HOUR_MS = 3_600_000
CONFIDENCE = 0.95  # that no hot spot is found where there is none
FEWEST_EXPECTED = 5.0  # below it the residual is not near normal (Cochran, Biometrics 1954)
NAME = "region-graph"


@dataclass(frozen=True)
class RegionEvents:
    """Where and when viewers watched, by viewer and then time.

    Attributes:
        viewers: `[events]` int64, ascending.
        regions: `[events]` int64, number of the region.
        times: `[events]` int64, milliseconds since 1970 UTC, ascending within a viewer.
    """

    viewers: NDArray[np.int64]
    regions: NDArray[np.int64]
    times: NDArray[np.int64]

    @property
    def nodes(self) -> NDArray[np.int64]:
        """`[events]` int64: the node of each event."""
        return self.regions * HOURS + self.times // HOUR_MS % HOURS


@dataclass(frozen=True)
class HotSpots:
    """Each region and hour against what its margins expect.

    Attributes:
        expected: `[regions, 24]` float64, visits if hours were the same everywhere: row times column over all.
        residual: `[regions, 24]` float64, adjusted residual, standard normal then; 0 where nothing can be expected.
        hot: `[regions, 24]` bool, far above what chance gives any of them.
    """

    expected: NDArray[np.float64]
    residual: NDArray[np.float64]
    hot: NDArray[np.bool_]


@dataclass(frozen=True)
class RegionGraph:
    """Regions by hour.

    Attributes:
        regions: names, by number.
        events: `[regions, 24]` int64.
        visits: `[regions, 24]` int64, events of which those of one viewer in one region and clock hour count once.
        edges: `[nodes, nodes]` int64, row to column; a viewer who stays in a node steps to itself.
        vectors: `[nodes, dim]` float32 of `models.transition_vectors`.
    """

    regions: tuple[str, ...]
    events: NDArray[np.int64]
    visits: NDArray[np.int64]
    edges: sp.csr_array
    vectors: NDArray[np.float32]

    @classmethod
    def build(cls, regions: tuple[str, ...], events: RegionEvents, *, dim: int, max_gap_hours: float) -> "RegionGraph":
        """Count `events`, and the steps between a viewer's consecutive ones at most `max_gap_hours` apart."""
        shape = (len(regions), HOURS)
        hours = events.times // HOUR_MS
        sitting = np.unique(np.stack([events.viewers, events.regions, hours]), axis=1)
        edges = _steps(events, len(regions) * HOURS, max_gap_hours)
        return cls(
            regions,
            np.bincount(events.nodes, minlength=len(regions) * HOURS).reshape(shape),
            np.bincount(sitting[1] * HOURS + sitting[2] % HOURS, minlength=len(regions) * HOURS).reshape(shape),
            edges,
            transition_vectors(edges, dim=dim),
        )

    def flows(self) -> NDArray[np.int64]:
        """`[flows, 4]` int64: hour of departure, region left, region reached (the same for a stay), steps; sorted."""
        edges = self.edges.tocoo()
        source, target = (axis.astype(np.int64) for axis in edges.coords)
        n = max(len(self.regions), 1)
        keys, which = np.unique((source % HOURS * n + source // HOURS) * n + target // HOURS, return_inverse=True)
        steps = np.zeros(len(keys), np.int64)
        np.add.at(steps, which, edges.data)
        return np.stack([keys // n**2, keys // n % n, keys % n, steps], axis=1)

    def hot_spots(self) -> HotSpots:
        """Adjusted residuals of `visits`: Haberman, Residuals in cross-classified tables, Biometrics 1973.

        `(n_rh - e_rh) / sqrt(e_rh (1 - n_r / n) (1 - n_h / n))` with `e_rh = n_r n_h / n`. A node is hot where that is
        above the normal quantile that all of them together exceed with a chance of 5 % (Bonferroni). Visits, not
        events, are counted: those of one sitting come together, and the normal is for independent ones.
        """
        total = max(int(self.visits.sum()), 1)
        rows, columns = self.visits.sum(axis=1, keepdims=True), self.visits.sum(axis=0, keepdims=True)
        expected = rows * columns / total
        deviation = np.sqrt(expected * (1 - rows / total) * (1 - columns / total))
        residual = np.divide(self.visits - expected, deviation, out=np.zeros(expected.shape), where=deviation > 0)
        judged = expected >= FEWEST_EXPECTED
        bound = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / max(int(judged.sum()), 1))
        return HotSpots(expected, residual, judged & (residual > bound))

    def trajectories(
        self, events: RegionEvents, *, n_viewers: int, half_life_days: float | None
    ) -> NDArray[np.float32]:
        """Of each viewer the mean of the nodes visited, of unit length.

        Args:
            events: of viewers 0 to `n_viewers` - 1, in this graph's regions; they need not be those it was built of.
            half_life_days: an event so long before its viewer's newest counts half; None: all count alike.

        Returns:
            `[n_viewers, dim]` float32; a row of NaN where a viewer has no event, or none in a node with a vector.
        """
        newest = np.full(n_viewers, np.iinfo(np.int64).min)
        np.maximum.at(newest, events.viewers, events.times)
        fresh = decay(newest[events.viewers] - events.times, half_life_days=half_life_days)
        shape = (n_viewers, len(self.vectors))
        sums = sp.csr_array((fresh, (events.viewers, events.nodes)), shape=shape) @ self.vectors.astype(np.float64)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        unit = np.divide(sums, length, out=np.full(sums.shape, np.nan), where=length > 0)
        vectors: NDArray[np.float32] = unit.astype(np.float32)
        return vectors

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json`; equal graphs give equal bytes."""
        arrays: Arrays = {
            "events": self.events,
            "visits": self.visits,
            "vectors": self.vectors,
            **csr_arrays(self.edges),
        }
        save_weights(folder, recommender=NAME, arrays=arrays, config={"regions": list(self.regions)})

    @classmethod
    def load(cls, folder: Path) -> "RegionGraph":
        """Read what `save` wrote. Raises `ValueError` when it is not that."""
        regions = tuple(load_config(folder, recommender=NAME)["regions"])
        arrays = load_arrays(folder / WEIGHTS, names=("events", "visits", "vectors", *NAMES))
        if len(arrays["events"]) != len(regions):
            raise ValueError(
                f"{folder / CONFIG} must name a region a row of events. Received: {len(regions)} names, "
                f"{len(arrays['events'])} rows"
            )
        shape = (len(regions) * HOURS,) * 2
        edges = sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        edges.check_format(full_check=True)
        return cls(regions, arrays["events"], arrays["visits"], edges, arrays["vectors"])


def _steps(events: RegionEvents, n_nodes: int, max_gap_hours: float) -> sp.csr_array:
    nodes = events.nodes
    follows = (np.diff(events.viewers) == 0) & (np.diff(events.times) <= max_gap_hours * HOUR_MS)
    ends = (nodes[:-1][follows], nodes[1:][follows])
    steps = sp.csr_array((np.ones(len(ends[0]), np.int64), ends), shape=(n_nodes, n_nodes))
    steps.sum_duplicates()
    return steps
