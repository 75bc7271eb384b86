"""Population stability index (PSI): how far one day's values stray from the days before."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.schema import Events

BINS = 10
HALF = 0.5
MEASURED = (Events.WATCH_SECONDS, Events.RATING)
FLAGS = (Events.LIKED, Events.DISLIKED, Events.FOLLOWED, Events.COMMENTED, Events.SHARED)


def stability_index(new: NDArray[np.int64], old: NDArray[np.int64]) -> float:
    """PSI of two histograms `[bins]`: `sum((p - q) ln(p / q))` over the shares `p` and `q`.

    Half a row is added to each bin, so that a bin that is empty on one side does not make the index infinite; bins
    that are empty on both sides are left out.
    """
    used = (new + old) > 0
    p = (new[used] + HALF) / (new[used] + HALF).sum()
    q = (old[used] + HALF) / (old[used] + HALF).sum()
    return float(((p - q) * np.log(p / q)).sum())


def drifts(newest: pl.DataFrame, trailing: pl.DataFrame) -> dict[str, float]:
    """PSI between two tables of events, by what is compared: the hour of the day and the columns that there are."""
    hour = pl.col(Events.TIME).dt.hour()
    new, old = (_counts(table.select(hour).to_series(), 24) for table in (newest, trailing))
    found = {"hour": stability_index(new, old)}
    for column in (*MEASURED, *FLAGS):
        if column in newest.columns:
            found[column] = stability_index(*_histograms(newest[column], trailing[column]))
    return found


def _histograms(new: pl.Series, old: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if new.dtype == pl.Boolean:
        return _counts(new.cast(pl.Int8), 2), _counts(old.cast(pl.Int8), 2)
    edges = _deciles(old)
    return _counts(_binned(new, edges), len(edges) + 1), _counts(_binned(old, edges), len(edges) + 1)


def _binned(values: pl.Series, edges: NDArray[np.float64]) -> pl.Series:
    bins = pl.Series(np.searchsorted(edges, values.fill_null(0).to_numpy()))
    return bins.scatter(values.is_null().arg_true(), None)


def _deciles(values: pl.Series) -> NDArray[np.float64]:
    known = values.drop_nulls().to_numpy()
    edges: NDArray[np.float64] = (
        np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if len(known) else known
    )
    return edges


def _counts(codes: pl.Series, bins: int) -> NDArray[np.int64]:
    # One more bin holds the missing values: a column that stops being filled is drift too.
    return np.bincount(codes.cast(pl.Int64).fill_null(bins).to_numpy(), minlength=bins + 1)
