"""When to stop a training: once the validation metric has not risen for a while, going back to where it was best."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.protocol import Diverged, Recommender, Training
from models.ranking import top_k
from models.sequences import Sequences
from models.two_stage import TwoStage

METRIC = "ndcg@10"

# So many viewers are looked at, at most: more would make an epoch slower and the curve hardly smoother.
VALIDATION_VIEWERS = 5000

Weights = list[NDArray[np.float32]]


@dataclass
class EarlyStopping:
    """Watches a training, epoch by epoch.

    Attributes:
        patience: epochs without a rise of `METRIC` after which to stop.
        epochs: metrics of each epoch so far.
        best: weights after the best epoch; without a validation set, after the newest.
        best_epoch: its number, from 1; 0 before the first.
    """

    patience: int
    epochs: list[dict[str, float]] = field(default_factory=list)
    best: Weights = field(default_factory=list)
    best_epoch: int = 0

    def after_epoch(self, metrics: dict[str, float], weights: Weights) -> None:
        """Note the epoch, and keep its `weights` when it is the best so far."""
        self.epochs.append(metrics)
        if METRIC not in metrics or not self.best_epoch or metrics[METRIC] > self.epochs[self.best_epoch - 1][METRIC]:
            self.best, self.best_epoch = weights, len(self.epochs)

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        return len(self.epochs) - self.best_epoch >= self.patience


def ndcg(lists: NDArray[np.int32], relevant: Sequences) -> float:
    """Mean normalised discounted cumulative gain of `lists` `[viewers, k]` over viewers who have something `relevant`.

    Binary gain, discount `1 / log2(rank + 1)`, normalised by the best list of length `k`.
    """
    k = lists.shape[1]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    span = np.int64(max(lists.max(initial=0), relevant.videos.max(initial=0))) + 1
    wanted = np.unique(relevant.viewer_of_event() * span + relevant.videos)
    counts = np.bincount(wanted // span, minlength=len(lists))
    found = np.isin(np.arange(len(lists))[:, None] * span + lists, wanted) & (lists >= 0)
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(counts, k)]
    judged = counts > 0
    return float(np.mean((found @ discounts)[judged] / ideal[judged]))


def judged_viewers(data: Training) -> NDArray[np.int64]:
    """The viewers whose validation events are looked at: all, or an even sample of `VALIDATION_VIEWERS`."""
    viewers = np.flatnonzero(data.valid.lengths)
    if len(viewers) <= VALIDATION_VIEWERS:
        return viewers
    return np.sort(np.random.default_rng(data.seed).choice(viewers, VALIDATION_VIEWERS, replace=False))


def validation_metric(model: Recommender, data: Training, viewers: NDArray[np.int64]) -> dict[str, float]:
    """`METRIC` of `model` over `viewers`; nothing without any. Raises `Diverged` on scores that are not finite."""
    if not len(viewers):
        return {}
    seen = data.train.take(viewers)
    try:
        if isinstance(model, TwoStage):
            lists, _ = model.rank(seen, 10)
        else:
            lists, _ = top_k(model.viewer_vectors(seen), model.video_vectors(), seen, 10)
    except ValueError as error:
        raise Diverged(f"{error}: lower learning_rate") from error
    return {METRIC: ndcg(lists, data.valid.take(viewers))}
