"""Whether new videos show and say other things than those that a model was trained on, by their content vectors."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lineage.windows import Drift
from tasks.encode import encode
from tasks.encoded import Encoded
from tasks.params import Params
from tasks.prepare import FIRST_SEEN
from tasks.refresh import Kept
from tasks.schema import Videos

PERMUTATIONS = 199
FEWEST = 5  # new videos from which on there is something to tell

Table = NDArray[np.float32]


def catalogue_drift(
    vocabulary: pl.DataFrame, catalogue: pl.DataFrame, kept: Kept, params: Params, *, significance: float
) -> list[Drift]:
    """The drift of the videos of `catalogue` that are new to a release, from those that it was trained on.

    Args:
        vocabulary: of the release: `first_seen` is null for what nobody had watched.
        catalogue: accepted videos of now.
        kept: what has been encoded, which this adds to, and a folder to work in.
        params: those of the release: it is encoded as for the release.
        significance: of the permutation test.
    """
    met = catalogue.join(vocabulary.select(Videos.ID, FIRST_SEEN), on=Videos.ID)
    new = catalogue.join(vocabulary.select(Videos.ID), on=Videos.ID, how="anti")
    if new.height < FEWEST:
        return []
    trained = met.filter(pl.col(FIRST_SEEN).is_not_null())
    both = pl.concat([trained.drop(FIRST_SEEN), new])
    encoded = Encoded(kept.work / "encoded")
    encode(both, encoded.folder, params=params.encode, shelves=kept.shelves, media=kept.media)
    is_new = encoded.catalogue[Videos.ID].is_in(new[Videos.ID].implode()).to_numpy()
    return video_drift(encoded.content().vectors, ~is_new, is_new, significance=significance, seed=params.seed)


def video_drift(
    tables: Mapping[str, Table], trained: NDArray[np.bool_], new: NDArray[np.bool_], *, significance: float, seed: int
) -> list[Drift]:
    """One figure for each modality that both sides have.

    Args:
        tables: by modality `[videos, dim]`, NaN in the rows of videos that lack it.
        trained, new: `[videos]` masks that have no video in common.
        significance: of the permutation test.
        seed: of the permutations.
    """
    found = []
    for modality, table in tables.items():
        there = ~np.isnan(table[:, 0])
        old, fresh = table[trained & there], table[new & there]
        if len(fresh) >= FEWEST and len(old) >= FEWEST:
            noise = chance_shift(old, fresh, significance=significance, seed=seed)
            shift = mean_shift(old, fresh)
            found.append(Drift(about="videos", what=modality, statistic="shift", observed=shift, noise=noise))
    return found


def mean_shift(old: Table, new: Table) -> float:
    """1 - cosine between the mean directions of `old` and `new` `[videos, dim]`: 0 the same, 2 opposite."""
    return _shift(_unit(old).mean(axis=0), _unit(new).mean(axis=0))


def chance_shift(old: Table, new: Table, *, significance: float, seed: int) -> float:
    """The shift that videos dealt at random to two sides of these sizes exceed with probability `significance`.

    A permutation test: where both sides are of one distribution, every deal is as likely.
    """
    pooled = _unit(np.concatenate([old, new]))
    draw, total = np.random.default_rng(seed), pooled.sum(axis=0)
    shifts = []
    for _ in range(PERMUTATIONS):
        side = pooled[draw.choice(len(pooled), len(new), replace=False)].sum(axis=0)
        shifts.append(_shift(total - side, side))
    return float(np.quantile(shifts, 1 - significance, method="higher"))


def _unit(table: Table) -> NDArray[np.float64]:
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    directions: NDArray[np.float64] = np.divide(table, lengths, out=np.zeros(table.shape), where=lengths > 0)
    return directions


def _shift(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return 1.0 - float(one @ other) / lengths if lengths > 0 else 0.0
