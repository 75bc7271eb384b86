"""The loop of recommenders that Keras trains: repeatable epochs, a state that outlives a kill, an end by validation."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.early_stopping import EarlyStopping, judged_viewers
from models.network_state import reseed, take_up, training_state, weights_of
from models.protocol import Diverged, Training

log = logging.getLogger(__name__)


class Limits(Protocol):
    """The parameters that end a training."""

    @property
    def epochs(self) -> int:
        """At most."""

    @property
    def patience(self) -> int:
        """Epochs without a better one after which it stops."""


def train_until_stopped(
    network: Any,
    data: Training,
    *,
    limits: Limits,
    key: str,
    name: str,
    epoch: Callable[[int], float],
    judge: Callable[[NDArray[np.int64]], dict[str, float]],
) -> EarlyStopping:
    """Train `network` epoch after epoch, from the checkpoint on where there is one of this training.

    Args:
        network: compiled; its generators are set before each epoch.
        data: its seed decides what is drawn, its checkpoints keep the state.
        limits: epochs and patience.
        key: of everything that decides the weights.
        name: of the recommender.
        epoch: one pass, whose number counts from 1; the mean loss.
        judge: the validation metric of some viewers.

    Raises:
        Diverged: loss or weights left the finite numbers.
    """
    stopping = EarlyStopping(limits.patience)
    checkpoint = Checkpoint(data.checkpoints, key)
    if kept := checkpoint.load():
        _take_up(*kept, network, stopping)
        log.info("%s goes on after epoch %d, from its checkpoint", name, len(stopping.epochs))
    judged = judged_viewers(data)
    while len(stopping.epochs) < limits.epochs and not stopping.stopped:
        number = len(stopping.epochs) + 1
        reseed(network, seed=data.seed, epoch=number)
        loss = epoch(number)
        weights = weights_of(network)
        if not np.isfinite(loss) or not all(np.isfinite(weight).all() for weight in weights):
            raise Diverged(f"loss or weights are not finite after epoch {number}: lower learning_rate")
        metrics = {"loss": loss} | judge(judged)
        stopping.after_epoch(metrics, weights)
        facts = {"epochs": stopping.epochs, "best_epoch": stopping.best_epoch}
        checkpoint.save(training_state(network, stopping.best), facts)
        data.on_epoch(number, limits.epochs, metrics)
    return stopping


def _take_up(arrays: dict[str, NDArray[Any]], facts: dict[str, Any], network: Any, stopping: EarlyStopping) -> None:
    stopping.best = take_up(arrays, network)
    stopping.epochs, stopping.best_epoch = facts["epochs"], facts["best_epoch"]
