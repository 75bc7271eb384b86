"""A network that tells several things of a viewer and a video at once.

MMoE (Ma, Zhao, Yi, Chen, Hong and Chi, Modeling task relationships in multi-task learning with multi-gate
mixture-of-experts, KDD 2018): `y_t = tower_t(sum_e g_t(x)_e f_e(x))`, experts `f_e` shared, a softmax gate `g_t` and a
tower for each task. A single expert needs no gate and is the shared bottom (Caruana, Multitask learning, 1997).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.backend import keras
from models.batches import filled
from models.feedback import VALUES
from models.network_state import RepeatableModel
from models.params import MultiTaskParams

FEATURES = "features"
TOLD = "told"
ROWS_A_BATCH = 4096

Table = NDArray[np.float32]

ops = keras.ops
layers = keras.layers


class MultiTaskNetwork(RepeatableModel):
    """Inputs `features` `[batch, columns]`, and in training `told` `[batch, tasks]`, NaN where it is not known.

    Output `[batch, tasks]`: a logit for what is yes or no, else a value.
    """

    def __init__(self, params: MultiTaskParams, *, columns: int, tasks: Sequence[str]) -> None:
        super().__init__(name="multitask")
        self.is_value = np.array([task in VALUES for task in tasks])
        self.experts = layers.Dense(params.experts * params.expert_dim, "relu", name="experts")
        self.split = layers.Reshape((params.experts, params.expert_dim), name="split")
        self.dropout = layers.Dropout(params.dropout, seed=0, name="dropout")
        gated = tasks if params.experts > 1 else ()
        self.gates = [layers.Dense(params.experts, "softmax", name=f"gate_{task}") for task in gated]
        self.hidden = [layers.Dense(params.hidden, "relu", name=f"hidden_{task}") for task in tasks]
        self.answers = [layers.Dense(1, name=f"answer_{task}") for task in tasks]
        sizes = {columns: [self.experts, *self.gates], params.expert_dim: self.hidden, params.hidden: self.answers}
        for size, of_size in sizes.items():
            for layer in of_size:
                layer.build((None, size))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        features = inputs[FEATURES]
        experts = self.split(self.dropout(self.experts(features), training=training))
        mixed = [ops.sum(ops.expand_dims(gate(features), -1) * experts, axis=1) for gate in self.gates]
        mixed = mixed or [experts[:, 0]] * len(self.answers)
        told = (answer(hidden(of)) for of, hidden, answer in zip(mixed, self.hidden, self.answers, strict=True))
        return ops.concatenate(list(told), axis=1)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Sum over tasks of what is known, by row: what is told of few examples counts little. A float32 scalar."""
        known = ops.logical_not(ops.isnan(x[TOLD]))
        truth = ops.where(known, x[TOLD], 0.0)
        chance = ops.softplus(y_pred) - truth * y_pred
        losses = ops.where(self.is_value, ops.square(y_pred - truth) / 2, chance)
        return ops.mean(ops.sum(ops.where(known, losses, 0.0), axis=1))

    def tell(self, features: Table) -> Table:
        """`[rows, tasks]` of `features` `[rows, columns]`, in batches of one shape: a row's bits depend on it alone."""
        told = np.empty((len(features), len(self.answers)), np.float32)
        for at in range(0, len(features), ROWS_A_BATCH):
            some = features[at : at + ROWS_A_BATCH]
            told[at : at + len(some)] = self.predict_on_batch({FEATURES: filled(some, ROWS_A_BATCH)})[: len(some)]
        return told


def mean_loss(told: Table, truth: Table, tasks: Sequence[str]) -> float:
    """`MultiTaskNetwork.compute_loss` of what it `told` `[rows, tasks]`, in float64."""
    z, y = told.astype(np.float64), truth
    is_value = np.array([task in VALUES for task in tasks])
    losses = np.where(is_value, (z - y) ** 2 / 2, np.logaddexp(0, z) - y * z)
    return float(np.nansum(losses) / max(len(told), 1))


def combined(told: Table, tasks: Sequence[str], weights: Mapping[str, float]) -> NDArray[np.float32]:
    """`[rows]`: the weighted sum of chances and values.

    Args:
        told: `[rows, tasks]`, calibrated logits and values.
        weights: by task; 0 for those not named.
    """
    total = np.zeros(len(told), np.float32)
    for at, task in enumerate(tasks):
        if weight := weights.get(task, 0.0):
            total += np.float32(weight) * (told[:, at] if task in VALUES else expit(told[:, at]))
    return total
