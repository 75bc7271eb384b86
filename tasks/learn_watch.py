"""The task `watch` of a tuned encoder: what viewers watched one after another, and what held-out videos say of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.params import TunedParams
from models.recent import shuffled_ties
from models.sequences import Sequences
from models.tuning import Material, Rows, Tuned, Vectors, split_by_key
from models.tuning_watch import Pairs, Watched, partners_found, within
from tasks.learn_checks import judge_partners
from tasks.learn_job import NothingToLearn
from tasks.prepared import Prepared
from tasks.schema import Videos


@dataclass(frozen=True)
class ByWatching:
    """A `tasks.learn_tuned.Task`: videos, and pairs of them.

    Attributes:
        rows: of the catalogue, by id.
        goal: what is learnt.
        held_out: of `rows`.
        pairs: `[n, 2]` rows of `held_out`, both held out.
    """

    rows: pl.DataFrame
    goal: Watched
    held_out: Rows
    pairs: Pairs

    @classmethod
    def of(cls, rows: pl.DataFrame, prepared: Path, *, what: str, params: TunedParams, seed: int) -> "ByWatching":
        """The task over the videos `rows` and the training positives in the folder `prepared`.

        Args:
            rows: `video_id` as text, ascending.
            prepared: what `tasks.prepare` left.
            what: each has of the encoder's, in words: `titles`.
            params: shares of the parts, and the fewest pairs of each.
            seed: of the order of what was watched in one millisecond.

        Raises:
            NothingToLearn: a part has too few pairs.
        """
        parts = split_by_key(rows[Videos.ID], valid=params.valid, held_out=params.held_out)
        read = Prepared(prepared)
        pairs = _renumbered(watched_pairs(read.train(), seed=seed), read.videos[Videos.ID], rows[Videos.ID])
        goal, held_out = Watched.of(pairs, parts), within(pairs, parts.held_out)
        sizes = (len(goal.train), len(goal.valid), len(held_out))
        if min(sizes) < params.min_pairs:
            told = f"{sizes[0]}, {sizes[1]} and {sizes[2]} of {rows.height} videos with {what}"
            raise NothingToLearn(f"Each part must have {params.min_pairs} pairs that were watched. Received: {told}")
        return cls(rows, goal, parts.held_out, np.searchsorted(parts.held_out, held_out))

    def judge(self, tuned: Tuned, vectors: Vectors, material: Material, *, margin: float) -> dict[str, Any]:
        """Against the pretrained encoder's own cosine. See `tasks.learn_tuned.Task`."""
        under_head, alone, before = (
            partners_found(told, self.pairs)
            for told in (tuned.head.turned(vectors), vectors, material.vectors(self.held_out))
        )
        judged = judge_partners(under_head, alone, before, vectors=vectors, dim=material.dim, margin=margin)
        return {"measure": under_head | {"encoder": alone}, "baseline": {"pretrained": before}} | judged


def watched_pairs(histories: Sequences, *, seed: int) -> Pairs:
    """`[n, 2]` video indices: each event of a viewer and the next one, a pair of one video left out.

    Events of one millisecond have no order that anybody knows, so `seed` decides it: that of their files may tell of
    the catalogue's.
    """
    ordered = shuffled_ties(histories, seed=[seed])
    viewers = ordered.viewer_of_event()
    pairs = np.stack([ordered.videos[:-1], ordered.videos[1:]], axis=1).astype(np.int64)
    kept: Pairs = pairs[(viewers[:-1] == viewers[1:]) & (pairs[:, 0] != pairs[:, 1])]
    return kept


def _renumbered(pairs: Pairs, vocabulary: pl.Series, ids: pl.Series) -> Pairs:
    """`pairs` of indices of `vocabulary` as rows of `ids`; pairs of which `ids` lacks a video are left out."""
    place = {video: row for row, video in enumerate(ids)}
    rows: NDArray[np.int64] = np.array([place.get(video, -1) for video in vocabulary.cast(pl.String)], np.int64)
    found: Pairs = rows[pairs]
    return found[(found >= 0).all(axis=1)]
