"""What events look like, as histograms: of the data that a release was trained on, and of the days since."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lineage.windows import Drift
from tasks.divergence import chance_divergence, chance_index, jensen_shannon
from tasks.drift import FLAGS, MEASURED, stability_index
from tasks.monitor_params import Monitor
from tasks.schema import Events, Videos

HOUR, POPULARITY, NEW_VIDEOS = "hour", "video_popularity", "new_videos"
NAMED = (Events.REGION, Events.DEVICE)
BINS = 10
NAMES = 20  # regions or devices with a bin of their own; the others share one

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Feature:
    """A histogram that others are made alike to.

    Attributes:
        edges: `[bins - 1]` ascending, values up to and including an edge are below it; None for names.
        names: what has a bin of its own, then one bin for all others; None for values.
        counts: `[bins + 1]`; the last one counts missing values.
        usual_psi, usual_js: the largest of one day against the others.
    """

    edges: list[float] | None
    names: list[str] | None
    counts: list[int]
    usual_psi: float
    usual_js: float

    def histogram(self, values: pl.Series) -> Counts:
        """`[bins + 1]` counts of `values`."""
        bins = len(self.counts) - 1
        return np.bincount(_codes(values, self.edges, self.names), minlength=bins + 1)


@dataclass(frozen=True)
class Profile:
    """What a release was trained on.

    Attributes:
        events: rows.
        features: by name.
        usual_new: the largest share of a day's events whose video no earlier day had.
    """

    events: int
    features: dict[str, Feature]
    usual_new: float

    @classmethod
    def of(cls, events: pl.DataFrame, popularity: pl.DataFrame, *, usual_days: int) -> "Profile":
        """The profile of accepted `events`.

        Args:
            events: of the training data, with `day`.
            popularity: `video_id` and `video_popularity`, how often each video was watched in training.
            usual_days: the newest days that tell what is usual.
        """
        days = _usual_days(events, usual_days)
        features = {name: _feature(table, days) for name, table in _values(events, popularity)}
        return cls(events.height, features, _usual_new(events, days))

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Profile":
        """Read back `as_json`."""
        features = {name: Feature(**of) for name, of in told["features"].items()}
        return cls(told["events"], features, told["usual_new"])

    def as_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        features = {name: vars(of) for name, of in self.features.items()}
        return {"events": self.events, "features": features, "usual_new": self.usual_new}

    def drift(self, events: pl.DataFrame, popularity: pl.DataFrame, seen: pl.Series, params: Monitor) -> list[Drift]:
        """How far `events` stray.

        Args:
            events: accepted ones of the days since, one or more.
            popularity: as in `of`.
            seen: ids of all videos of the training data.
            params: the significance of chance.
        """
        found: list[Drift] = []
        tables = dict(_values(events, popularity))
        for name, feature in self.features.items():
            missing = pl.Series([None] * events.height, dtype=pl.Float64 if feature.names is None else pl.String)
            column = tables[name]["value"] if name in tables else missing
            found += _drifts(name, feature, feature.histogram(column), params.significance)
        share = 1 - int(events[Events.VIDEO].is_in(seen.implode()).sum()) / events.height
        return [*found, Drift(about="events", what=NEW_VIDEOS, statistic="share", observed=share, usual=self.usual_new)]


def _drifts(name: str, feature: Feature, new: Counts, significance: float) -> list[Drift]:
    old = np.array(feature.counts, np.int64)
    return [
        Drift(
            about="events",
            what=name,
            statistic="psi",
            observed=stability_index(new, old),
            noise=chance_index(new, old, significance=significance),
            usual=feature.usual_psi,
        ),
        Drift(
            about="events",
            what=name,
            statistic="js",
            observed=jensen_shannon(new, old),
            noise=chance_divergence(new, old, significance=significance),
            usual=feature.usual_js,
        ),
    ]


def _values(events: pl.DataFrame, popularity: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each feature with `day` and `value` of each event; popularity of the events of known videos alone."""
    yield HOUR, events.select(Events.DAY, value=pl.col(Events.TIME).dt.hour().cast(pl.Float64))
    for name in (*MEASURED, *FLAGS):
        if name in events.columns:
            yield name, events.select(Events.DAY, value=pl.col(name).cast(pl.Float64))
    for name in NAMED:
        if name in events.columns:
            yield name, events.select(Events.DAY, value=name)
    # new videos have a figure of their own
    known = events.join(popularity, on=Videos.ID, maintain_order="left")
    yield POPULARITY, known.select(Events.DAY, value=pl.col(POPULARITY).cast(pl.Float64))


def _feature(table: pl.DataFrame, days: list[date]) -> Feature:
    values, day_of = table["value"], table[Events.DAY]
    is_named = values.dtype == pl.String
    names = values.drop_nulls().value_counts(sort=True)["value"].head(NAMES).sort().to_list() if is_named else None
    edges = None if is_named else _edges(values)
    codes = _codes(values, edges, names)
    bins = _bins(edges, names) + 1
    counts = np.bincount(codes, minlength=bins)
    each = [np.bincount(codes[(day_of == day).to_numpy()], minlength=bins) for day in days]
    psi = max((stability_index(day, counts - day) for day in each), default=0.0)
    js = max((jensen_shannon(day, counts - day) for day in each), default=0.0)
    return Feature(edges, names, counts.tolist(), psi, js)


def _bins(edges: list[float] | None, names: list[str] | None) -> int:
    return len(names if names is not None else edges or []) + 1


def _codes(values: pl.Series, edges: list[float] | None, names: list[str] | None) -> Counts:
    if names is not None:
        known = pl.Series(names, dtype=pl.String)
        place = values.replace_strict(known, pl.int_range(len(names), eager=True), default=len(names))
        return place.scatter(values.is_null().arg_true(), len(names) + 1).to_numpy().astype(np.int64)
    bins = _bins(edges, names)
    codes = np.searchsorted(np.array(edges, np.float64), values.fill_null(0.0).to_numpy())
    return np.where(values.is_null().to_numpy(), bins, codes).astype(np.int64)


def _edges(values: pl.Series) -> list[float]:
    """Every value but the last where there are few, such as hours and flags; else deciles."""
    known = values.drop_nulls().to_numpy()
    distinct = np.unique(known)
    if len(distinct) <= 24:
        return [float(value) for value in distinct[:-1]]
    return [float(edge) for edge in np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))]


def _usual_days(events: pl.DataFrame, most: int) -> list[date]:
    """The newest days, those apart with less than half of the median's rows; none where they leave nothing else."""
    by_day = events.group_by(Events.DAY).len().sort(Events.DAY)
    enough = by_day.filter(pl.col("len") * 2 >= pl.col("len").median())
    return enough[Events.DAY].to_list()[-most:] if by_day.height > 1 else []


def _usual_new(events: pl.DataFrame, days: list[date]) -> float:
    first = events.group_by(Events.VIDEO).agg(first=pl.col(Events.DAY).min())
    new = (
        events.join(first, on=Events.VIDEO).group_by(Events.DAY).agg(new=(pl.col("first") == pl.col(Events.DAY)).mean())
    )
    began = events[Events.DAY].min()
    shares = new.filter(pl.col(Events.DAY).is_in(days) & (pl.col(Events.DAY) > began))["new"]
    return max(shares.to_list(), default=0.0)
