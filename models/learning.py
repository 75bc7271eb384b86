"""The loop that learners on video share: repeatable epochs, early stopping, a state that outlives a kill."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import describe_device, memory_exhaustion_diverges, software
from models.checkpoint import Checkpoint
from models.network_state import compile_with_adam, reseed, take_up, training_state, weights_of
from models.params import LoopParams
from models.protocol import Diverged
from models.weights import Arrays

LOSS = "valid_loss"

Draw = Callable[[np.random.Generator], Mapping[str, NDArray[Any]]]
Judge = Callable[[], float]

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """A training, epoch by epoch.

    Attributes:
        epochs: `loss` and `valid_loss` of each epoch so far.
        best: the weights with the lowest `valid_loss`.
        best_epoch: their epoch, from 1; 0 where the weights before the first epoch were never beaten.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: list[NDArray[Any]] = field(default_factory=list)
    best_epoch: int = 0
    before: float = np.inf

    @property
    def lowest(self) -> float:
        """The best `valid_loss` so far, the one before the first epoch included."""
        return self.epochs[self.best_epoch - 1][LOSS] if self.best_epoch else self.before


def train(
    network: Any,
    draw: Draw,
    judge: Judge,
    *,
    params: LoopParams,
    batch_size: int,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> Progress:
    """Fit the built `network` and leave it with the weights that `judge` found best.

    What an epoch draws depends on seed and epoch alone, so a training that goes on from its checkpoint ends in the
    same weights as one that was never stopped.

    Args:
        network: a `RepeatableModel`, built.
        draw: one epoch's inputs, rows in the order of training; what does not fill a batch at the end is left out.
        judge: the loss on the validation part; the lower the better.
        params: learning rate, epochs, patience.
        batch_size: rows a step, at most.
        seed: of dropout and of `draw`'s generator, with the epoch's number.
        checkpoint: where the state is kept after each epoch.

    Raises:
        Diverged: loss or weights left the finite numbers, or memory ran out.
    """
    with memory_exhaustion_diverges():
        compile_with_adam(network, learning_rate=params.learning_rate, jit_compile=params.jit_compile, clip=params.clip)
        progress = _begin(network, judge, checkpoint)
        while len(progress.epochs) < params.epochs and len(progress.epochs) - progress.best_epoch < params.patience:
            epoch = len(progress.epochs) + 1
            loss = _epoch(network, draw, batch_size=batch_size, seed=seed, epoch=epoch)
            _after_epoch(progress, network, {"loss": loss, LOSS: _finite(judge(), epoch)})
            if checkpoint is not None:
                checkpoint.save(*_state(progress, network))
        network.set_weights(progress.best)
    return progress


def trained_on(progress: Progress) -> dict[str, Any]:
    """What a training says of itself: device, software, epochs and the best of them."""
    told = {"device": describe_device(), "software": software()}
    return told | {"epochs": progress.epochs, "best_epoch": progress.best_epoch}


def shuffled(arrays: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """The rows of all `arrays` in one drawn order."""
    order = rng.permutation(len(next(iter(arrays.values()))))
    return {name: array[order] for name, array in arrays.items()}


def _begin(network: Any, judge: Judge, checkpoint: Checkpoint | None) -> Progress:
    """Where the checkpoint left off, or the untrained weights as the ones to beat."""
    progress = Progress()
    if checkpoint is not None and (kept := checkpoint.load()):
        _take_up(*kept, progress, network)
    else:
        progress.best, progress.before = weights_of(network), _finite(judge(), 0)
    return progress


def _epoch(network: Any, draw: Draw, *, batch_size: int, seed: int, epoch: int) -> float:
    reseed(network, seed=seed, epoch=epoch)
    arrays = draw(np.random.default_rng([seed, epoch]))
    rows = len(next(iter(arrays.values())))
    size = min(batch_size, rows)
    whole = rows // size * size
    batches = {name: array[:whole] for name, array in arrays.items()}
    ran = network.fit(batches, batch_size=size, shuffle=False, verbose=0)
    if not all(np.isfinite(weight).all() for weight in weights_of(network)):
        raise Diverged(f"weights are not finite after epoch {epoch}: lower learning_rate")
    return _finite(float(ran.history["loss"][0]), epoch)


def _finite(loss: float, epoch: int) -> float:
    if not np.isfinite(loss):
        raise Diverged(f"the loss is not finite after epoch {epoch}: lower learning_rate")
    return loss


def _after_epoch(progress: Progress, network: Any, metrics: dict[str, float]) -> None:
    lowest = progress.lowest
    progress.epochs.append(metrics)
    log.info("epoch %d: %s", len(progress.epochs), metrics)
    if metrics[LOSS] < lowest:
        progress.best, progress.best_epoch = weights_of(network), len(progress.epochs)


def _state(progress: Progress, network: Any) -> tuple[Arrays, dict[str, Any]]:
    facts = {"epochs": progress.epochs, "best_epoch": progress.best_epoch, "before": progress.before}
    return training_state(network, progress.best), facts


def _take_up(arrays: Arrays, facts: dict[str, Any], progress: Progress, network: Any) -> None:
    progress.best = take_up(arrays, network)
    progress.epochs, progress.best_epoch, progress.before = facts["epochs"], facts["best_epoch"], facts["before"]
    log.info("the training goes on after epoch %d, from its checkpoint", len(progress.epochs))


def digest_of(name: str, params: LoopParams, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over a learner's name, parameters and weights."""
    digest = hashlib.sha256(repr((name, sorted(params.model_dump().items()))).encode())
    for key, array in sorted(arrays.items()):
        digest.update(key.encode() + array.tobytes())
    return digest.hexdigest()


def learning_key(name: str, params: Mapping[str, Any], data: object) -> str:
    """SHA-256 over what decides a training's result.

    Args:
        name: of the learner.
        params: JSON types only.
        data: arrays, texts, or sequences of such.
    """
    told = json.dumps({"name": name, "params": params, "software": software()}, sort_keys=True)
    digest = hashlib.sha256(told.encode())
    for part in _flat(data):
        digest.update(part)
    return digest.hexdigest()


def _flat(data: object) -> Iterator[bytes]:
    if isinstance(data, np.ndarray):
        yield f"{data.dtype}{data.shape}".encode() + np.ascontiguousarray(data).tobytes()
    elif isinstance(data, str):
        yield json.dumps(data).encode()
    elif isinstance(data, Sequence):
        for part in data:
            yield from _flat(part)
    else:
        raise TypeError(f"Data must be arrays, texts or sequences of them. Received: {type(data).__name__}")
