"""What re-ranking knows of videos, and what a release says of it, so that it is judged as it is served."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError

from models.params import RerankParams, Section
from models.protocol import Vectors
from models.rerank import Reranker
from tasks.prepare import FIRST_SEEN, TRAIN_EVENTS
from tasks.prepared import Prepared
from tasks.schema import Videos
from tasks.stage import write_json

PART = "rerank.json"
LONG_AGO = -(2**62)


class Reranking(Section):
    """The part `rerank.json` of a release that re-ranks.

    Attributes:
        rules: what is done.
        seed: of the draw.
        fresh_since: milliseconds since 1970 UTC; a video first seen or uploaded later is fresh.
    """

    rules: RerankParams
    seed: int
    fresh_since: int

    @classmethod
    def until(cls, end: int, rules: RerankParams, *, seed: int) -> "Reranking":
        """Fresh is what appeared `rules.fresh_days` before the newest event, of the time `end`, or later."""
        since = end - timedelta(days=rules.fresh_days) // timedelta(milliseconds=1)
        return cls(rules=rules, seed=seed, fresh_since=since)

    @classmethod
    def load(cls, folder: Path) -> "Reranking | None":
        """Of the release in `folder`, None where it has none. Raises `ValueError` when it cannot be read."""
        part = folder / PART
        try:
            return cls.model_validate_json(part.read_bytes()) if part.exists() else None
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, at['loc']))}: {at['msg'].lower()}" for at in error.errors())
            raise ValueError(f"{part} does not describe a re-ranking: {faults}") from None

    def save(self, folder: Path) -> None:
        """Leave the part in `folder`."""
        write_json(folder / PART, self.model_dump(mode="json"))

    def reranker(
        self,
        videos: pl.DataFrame,
        vectors: Vectors,
        *,
        listed: NDArray[np.integer] | None = None,
        now: int | None = None,
    ) -> Reranker:
        """What makes the lists of a model.

        Args:
            videos: the model's, row i video index i, with `first_seen` and `train_events`.
            vectors: `[videos, d]` of the model, by which videos are alike.
            listed: indices of those that may be listed; None: all.
            now: when that is; what appeared later is not known to be fresh yet. None: after all that is known.
        """
        own = np.arange(videos.height)
        may = np.isin(own, own if listed is None else listed)
        born = _born(videos, now)
        fresh = np.flatnonzero(may & (born > self.fresh_since))
        events = videos[TRAIN_EVENTS].to_numpy()
        typical = np.median(events[videos[FIRST_SEEN].is_not_null().to_numpy()])
        return Reranker(
            params=self.rules,
            seed=self.seed,
            vectors=vectors,
            authors=_authors(videos),
            fresh=fresh[np.argsort(-born[fresh], kind="stable")].astype(np.int32),
            rare=np.flatnonzero(may & (events <= typical)).astype(np.int32),
        )


def newest_event(prepared: Prepared) -> int:
    """The snapshot's end, as far as its vocabulary goes: milliseconds since 1970 UTC."""
    return max(int(prepared.sequences.times.max()), int(prepared.videos[FIRST_SEEN].to_numpy().max()))


def _born(videos: pl.DataFrame, now: int | None) -> NDArray[np.int64]:
    """`[videos]` when each appeared: the later of upload and first event, among those until `now`; else long ago."""
    dates = [pl.col(FIRST_SEEN)]
    if Videos.UPLOADED_AT in videos.columns:
        dates.append(pl.col(Videos.UPLOADED_AT).dt.epoch("ms"))
    known = [date if now is None else pl.when(date <= now).then(date) for date in dates]
    return videos.select(pl.max_horizontal(known).fill_null(LONG_AGO)).to_series().to_numpy()


def _authors(videos: pl.DataFrame) -> NDArray[np.int32]:
    if Videos.AUTHOR not in videos.columns:
        return np.full(videos.height, -1, np.int32)
    return (videos[Videos.AUTHOR].rank("dense").cast(pl.Int32) - 1).fill_null(-1).to_numpy()
