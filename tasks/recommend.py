"""Answer a viewer from a release's folder and nothing else."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import BadInput
from models.catalogue import load
from models.explain import contributions, scores_of
from models.protocol import Recommender
from models.ranking import Ranked
from models.rerank import Reranker
from models.search import Index
from models.sequences import Sequences
from models.two_stage import TwoStage
from tasks.profile import viewer_profile
from tasks.rerank import Reranking
from tasks.schema import Users, Videos

REASONS = 3  # watched videos that are named for each recommended one, at most
INTEGER = re.compile("-?[0-9]{1,19}")


@dataclass(frozen=True)
class Recommended:
    """What one viewer is shown: `reason` is `history` or `popular` (the viewer is unknown), videos best first."""

    reason: str
    videos: list[dict[str, object]]


@dataclass(frozen=True)
class Bundle:
    """A release's verified folder, opened for serving. Parts are read on first use.

    Attributes:
        folder: parts whose digests the caller has checked.
        candidate: which recommender `model/` holds.
    """

    folder: Path
    candidate: str

    @cached_property
    def model(self) -> Recommender:
        """The recommender."""
        return load(self.candidate, self.folder / "model")

    @cached_property
    def index(self) -> Index:
        """The index; refuses to load beside a model of another embedding space."""
        return Index.load(self.folder / "index", model=self.folder / "model")

    @cached_property
    def vocabulary(self) -> pl.DataFrame:
        """Row `i` is video index `i`."""
        return pl.read_parquet(self.folder / "vocabulary.parquet")

    @cached_property
    def viewers(self) -> pl.DataFrame:
        """Row `i` is viewer index `i`."""
        return pl.read_parquet(self.folder / "viewers.parquet")

    @cached_property
    def sequences(self) -> Sequences:
        """All that viewers have watched as positives."""
        return Sequences.load(self.folder / "sequences")

    @cached_property
    def reranker(self) -> Reranker | None:
        """What makes lists of the best; None where the release re-ranks nothing."""
        reranking = Reranking.load(self.folder)
        return None if reranking is None else reranking.reranker(self.vocabulary, self.model.video_vectors())

    def recommend(self, user: str, *, k: int, explain: bool = False) -> Recommended:
        """`k` videos for the viewer with id `user`; the popular list when the release has not met that id.

        Args:
            user: id.
            k: length of the list.
            explain: add `because` to each video: the watched ones that carried it, and what each added to its score.

        Raises:
            BadInput: `k` is outside 1..videos.
        """
        if not 1 <= k <= self.vocabulary.height:
            raise BadInput(f"k must lie in 1..{self.vocabulary.height}, the size of the catalogue. Received: k={k}")
        viewer = self._viewer(user)
        if viewer is None:
            return Recommended("popular", self._rows(*self._popular(k)))
        history = self.sequences.take(np.array([viewer]))
        videos, scores = self._list(history, k)
        rows = self._rows(videos, scores)
        if explain:
            reasons = self._reasons(history, videos)
            rows = [row | {"because": because} for row, because in zip(rows, reasons, strict=True)]
        return Recommended("history", rows)

    def _list(self, history: Sequences, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """At most `k` videos for the one viewer of `history`, best first, and the model's scores of them."""
        if self.reranker is None:
            videos, scores = self._pool(history, k)
            return videos[videos >= 0], scores[videos >= 0]
        pool, scores = self._pool(history, self.reranker.pool_size(k))
        listed = self.reranker.lists(pool, scores, history, k)[0]
        listed = listed[listed >= 0]
        known = dict(zip(pool[0].tolist(), scores[0].tolist(), strict=True))
        others = np.array([video for video in listed.tolist() if video not in known], np.int32)
        if len(others):
            known |= zip(others.tolist(), scores_of(self.model, history, others)[0].tolist(), strict=True)
        return listed, np.array([known[video] for video in listed.tolist()], np.float32)

    def _pool(self, histories: Sequences, size: int) -> Ranked:
        """The `size` best for each viewer of `histories`, and their scores, by the index.

        A model that looks at each video together with the viewer finds them by itself.
        """
        if isinstance(self.model, TwoStage):
            return self.model.rank(histories, size)
        return self.index.search(self.model.viewer_vectors(histories), seen=histories, k=size)

    def _reasons(self, history: Sequences, videos: NDArray[np.integer]) -> list[list[dict[str, object]]]:
        """For each of `videos` the watched ones that added most to its score, most first."""
        watched, parts, exact = contributions(self.model, history, videos)
        reasons = []
        for added in parts:
            most = np.argsort(-added, kind="stable")[:REASONS]
            carried = most[added[most] > 0]
            rows = self._rows(watched[carried], added[carried])
            reasons.append([row | {"exact": exact} for row in rows])
        return reasons

    def profile(self, user: str, *, private: bool) -> dict[str, Any]:
        """As `tasks.profile.viewer_profile`. Raises `BadInput` when the release has not met the id `user`."""
        viewer = self._viewer(user)
        if viewer is None or not self.sequences.lengths[viewer]:
            raise BadInput(f"The live release knows no viewer of that id. Received: {user!r}")
        return viewer_profile(viewer, self.sequences, self.vocabulary, private=private)

    def answer_somebody(self) -> None:
        """Load model and index and answer the first viewer: what a release does once before it goes live."""
        self.recommend(str(self.viewers.row(0)[0]), k=min(10, self.vocabulary.height))

    def _viewer(self, user: str) -> int | None:
        ids = self.viewers.get_column(Users.ID)
        if not ids.dtype.is_integer():
            at = ids.index_of(user)
        elif INTEGER.fullmatch(user) and abs(int(user)) < 2**63:
            at = ids.index_of(int(user))
        else:
            return None
        return None if at is None else int(at)

    def _popular(self, k: int) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        counts = self.vocabulary.get_column("train_events").to_numpy()
        best = np.argsort(-counts, kind="stable")[:k]
        return best, counts[best].astype(np.float32)

    def _rows(self, videos: NDArray[np.integer], scores: NDArray[np.float32]) -> list[dict[str, object]]:
        shown = [name for name in (Videos.ID, Videos.TITLE) if name in self.vocabulary.columns]
        rows = self.vocabulary[videos.tolist()].select(shown).to_dicts()
        return [row | {"score": round(float(score), 6)} for row, score in zip(rows, scores, strict=True)]
