"""A network as training sees it: repeatable steps, draws decided by seed and epoch, a state that can be taken up."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, keras
from models.early_stopping import Weights
from models.weights import Arrays


class RepeatableModel(keras.Model):  # type: ignore[misc]
    """A network whose steps XLA may compile under op determinism.

    Keras would refuse that, as some operations have no repeatable kernel there. Those that derive from this use none
    of them; a test trains each twice, in two processes, to equal weights.
    """

    @property
    def jit_compile(self) -> bool:
        """Whether steps are compiled by XLA."""
        return getattr(self, "_by_xla", False)

    @jit_compile.setter
    def jit_compile(self, value: bool) -> None:
        self._by_xla = value


def weights_of(network: Any) -> Weights:
    """Copies of the network's weights."""
    return [array_of(weight) for weight in network.weights]


def named_weights(network: Any) -> Arrays:
    """Copies of the network's weights by path."""
    return {weight.path: array_of(weight) for weight in network.weights}


def set_named_weights(network: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set what `named_weights` gave; `arrays` may hold more."""
    network.set_weights([arrays[weight.path] for weight in network.weights])


def compile_with_adam(network: Any, *, learning_rate: float, jit_compile: bool, clip: float | None = None) -> None:
    """Compile the built `network`, and make the optimizer's variables, which a checkpoint sets.

    Args:
        network: built.
        learning_rate: of Adam.
        jit_compile: whether XLA compiles the steps.
        clip: largest norm of a weight's gradient.
    """
    network.compile(optimizer=keras.optimizers.Adam(learning_rate, clipnorm=clip), jit_compile=jit_compile)
    network.optimizer.build(network.trainable_variables)


def training_state(network: Any, best: Weights) -> Arrays:
    """What a checkpoint keeps: weights and the optimizer's variables as they are now, and the best epoch's weights."""
    arrays = {f"now/{at:04d}": array_of(variable) for at, variable in enumerate(_variables(network))}
    return arrays | {f"best/{at:04d}": weight for at, weight in enumerate(best)}


def take_up(arrays: Arrays, network: Any) -> Weights:
    """Set what `training_state` gave; the best epoch's weights."""
    for at, variable in enumerate(_variables(network)):
        variable.assign(arrays[f"now/{at:04d}"])
    return [arrays[name] for name in sorted(arrays) if name.startswith("best/")]


def reseed(network: Any, *, seed: int, epoch: int) -> None:
    """Set every random generator of `network` to what `seed` and `epoch` decide."""
    states = list(_generator_states(network))
    drawn = np.random.SeedSequence([seed, epoch]).generate_state(2 * len(states)) >> 1
    for state, value in zip(states, drawn.reshape(-1, 2), strict=True):
        state.assign(value)


def _variables(network: Any) -> Sequence[Any]:
    return [*network.weights, *network.optimizer.variables]


def _generator_states(network: Any) -> Iterator[Any]:
    weights = {id(weight) for weight in network.weights}
    return (variable for variable in network.variables if id(variable) not in weights)
