"""The task `category` of a tuned encoder: the catalogue's categories, and what the held-out videos say of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from models.classification import accuracy, macro_f1
from models.params import TunedParams
from models.tuning import Material, Parts, Rows, Tuned, Vectors, split_by_key
from models.tuning_category import Categories, Choice, Labels
from tasks.learn_checks import judge_tuned
from tasks.learn_job import NothingToLearn
from tasks.schema import Videos


@dataclass(frozen=True)
class ByCategory:
    """A `tasks.learn_tuned.Task`: videos of the categories that have enough of them.

    Attributes:
        rows: of the catalogue, by id.
        goal: what is learnt.
        held_out: of `rows`.
        names: of the categories, by number.
        labels: `[rows]`.
    """

    rows: pl.DataFrame
    goal: Categories
    held_out: Rows
    names: list[str]
    labels: Labels

    @classmethod
    def of(cls, rows: pl.DataFrame, *, what: str, least: int, params: TunedParams) -> "ByCategory":
        """The task over the videos `rows`, sorted by id.

        Args:
            rows: `video_id`, `category`; what has none is left out.
            what: each has of the encoder's, in words: `titles`.
            least: categories with fewer videos are left out.
            params: shares of the parts.

        Raises:
            NothingToLearn: there are not two categories, or a part would be empty.
        """
        if not len(rows) or Videos.CATEGORY not in rows.columns:
            raise NothingToLearn(f"The catalogue has no {what} with categories")
        rows = rows.filter(pl.col(Videos.CATEGORY).is_not_null())
        rows = rows.filter(pl.len().over(Videos.CATEGORY) >= least)
        names = sorted(rows[Videos.CATEGORY].unique())
        if len(names) < 2:
            raise NothingToLearn(f"Two categories must have {least} {what} each. Received: {len(names)}")
        labels = np.searchsorted(np.array(names), rows[Videos.CATEGORY].to_numpy()).astype(np.int32)
        parts = split_by_key(rows[Videos.ID], valid=params.valid, held_out=params.held_out)
        _refuse_empty(parts, what)
        return cls(rows, Categories.of(labels, parts, count=len(names)), parts.held_out, names, labels)

    def judge(self, tuned: Tuned, vectors: Vectors, material: Material, *, margin: float) -> dict[str, Any]:
        """Against the pretrained encoder with a head of its own. See `tasks.learn_tuned.Task`."""
        measure = self._scores(tuned.head, vectors)
        baseline = self._scores(tuned.frozen, material.vectors(self.held_out))
        judged = judge_tuned(measure, baseline, vectors=vectors, dim=material.dim, margin=margin)
        return {"measure": measure, "baseline": {"pretrained": baseline}, "categories": self.names} | judged

    def _scores(self, head: Choice, vectors: Vectors) -> dict[str, float]:
        truth, told = self.labels[self.held_out], head.predict_labels(vectors)
        found = {"macro_f1": macro_f1(truth, told), "accuracy": accuracy(truth, told)}
        return found | {"texts": float(len(truth))}


def _refuse_empty(parts: Parts, what: str) -> None:
    if not all(len(part) for part in (parts.train, parts.valid, parts.held_out)):
        n = len(parts.train) + len(parts.valid) + len(parts.held_out)
        raise NothingToLearn(f"Too few {what} for three parts. Received: {n}")
