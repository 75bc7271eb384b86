"""What a viewer tower reads of a history: which events come before a moment, and the circumstances of the newest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decay import DAY_MS
from models.sequences import Sequences

CONTEXT = 8
WEEK_MS = 7 * DAY_MS

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Recent:
    """Events before `n` moments, each of one viewer.

    Attributes:
        events: `[n, length]` positions in the flat arrays of the histories, newest first, -1 for none.
        counts: `[n]` events before the moment, those that found no room in `length` included.
        oldest: `[n]` position of the viewer's first event; any where there is none.
    """

    events: Positions
    counts: Positions
    oldest: Positions

    @classmethod
    def of_all(cls, histories: Sequences, *, length: int) -> "Recent":
        """Before the moment of serving: everything, a row a viewer."""
        starts = np.minimum(histories.offsets[:-1], max(len(histories.videos) - 1, 0))
        back = np.arange(length)
        events = histories.offsets[1:, None] - 1 - back
        return cls(np.where(back < histories.lengths[:, None], events, -1), histories.lengths, starts)

    @classmethod
    def before(cls, histories: Sequences, targets: Positions, *, length: int) -> "Recent":
        """Before each of the events `targets` `[n]`, which is not among them itself.

        Events of the target's own millisecond count as before it, since nobody knows: first those that stand before it,
        then round to those behind it. Histories without times so become sets, of which every video is predicted from
        the others.
        """
        viewers = np.searchsorted(histories.offsets, targets, side="right") - 1
        starts = histories.offsets[viewers]
        first, last = _ties(histories)
        first, others = first[targets], last[targets] - first[targets]
        back = np.arange(length)
        among_ties = first[:, None] + (targets - first - 1)[:, None] - back
        among_ties = np.where(among_ties < first[:, None], among_ties + others[:, None] + 1, among_ties)
        earlier = (first - 1 + others)[:, None] - back
        events = np.where(back < others[:, None], among_ties, earlier)
        counts = first + others - starts
        return cls(np.where(back < counts[:, None], events, -1), counts, starts)

    def ages(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """`[n, length]` milliseconds by which each event is older than the newest; 0 for none."""
        if not len(times):
            return np.zeros(self.events.shape, np.int64)
        ages: NDArray[np.int64] = times[self.events[:, :1]] - times[self.events]
        return np.where(self.events < 0, 0, ages)

    def context(self, times: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[n, CONTEXT]` float32 of about -1..1, zeros where nothing is known of the viewer.

        Whether anything is known; logarithms of how much, of the days since the event before the newest, and of the
        days since the first; hour of the day and of the week (UTC) of the newest as points on circles. Columns of a
        user table would follow here.
        """
        if not len(times):
            return np.zeros((len(self.events), CONTEXT), np.float32)
        newest = times[self.events[:, 0]]
        before = times[self.events[:, min(1, self.events.shape[1] - 1)]]
        day, week = (2 * np.pi * (newest % period) / period for period in (DAY_MS, WEEK_MS))
        many = self.counts > 1
        logarithms = (self.counts, many * (newest - before) / DAY_MS, many * (newest - times[self.oldest]) / DAY_MS)
        scaled = [np.log1p(np.maximum(amount, 0)) / 8 for amount in logarithms]
        circles = [np.sin(day), np.cos(day), np.sin(week), np.cos(week)]
        columns = np.stack([np.ones(len(newest)), *scaled, *circles], axis=1)
        return np.where(self.counts[:, None] > 0, columns, 0).astype(np.float32)


def shuffled_ties(histories: Sequences, *, seed: list[int]) -> Sequences:
    """The same histories; events of one viewer and millisecond in an order that `seed` decides."""
    chance = np.random.default_rng(seed).random(len(histories.videos))
    order = np.lexsort((chance, histories.times, histories.viewer_of_event()))
    return histories.reordered(order)


def _ties(histories: Sequences) -> tuple[Positions, Positions]:
    """`[events]` each: first and last position of the run of events that share a viewer and a time."""
    n = len(histories.videos)
    starts = np.ones(n, np.bool_)
    starts[1:] = histories.times[1:] != histories.times[:-1]
    starts[histories.offsets[:-1][histories.lengths > 0]] = True
    at = np.flatnonzero(starts)
    run = np.cumsum(starts) - 1
    return at[run], np.append(at[1:], n)[run] - 1
