"""A pretrained encoder goes on learning on a task of the platform's own: the loop that texts and frames share.

Over the encoder's unit vectors stands a small head that answers the task (`models.tuning_category`,
`models.tuning_watch`). `frozen` trains the head alone; `top` the encoder's last layers with it (Howard and Ruder,
Universal language model fine-tuning for text classification, ACL 2018, on how much to thaw); `full` all of it. What an
encoder is made of is told by its material (`models.tuned_text`, `models.tuned_frames`).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.backend import keras, repeatable
from models.checkpoint import Checkpoint
from models.learning import Progress, train, trained_on
from models.network_state import RepeatableModel, named_weights, weights_of
from models.params import TunedParams

HEAD = "head.safetensors"
# What a cosine is multiplied by before a softmax: at 1, the most that a unit vector can say would be too little.
SHARPNESS = 20.0
HEAD_BATCH = 256

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Inputs = dict[str, NDArray[Any]]

ops = keras.ops


@dataclass(frozen=True)
class Parts:
    """Rows of a catalogue in three parts."""

    train: Rows
    valid: Rows
    held_out: Rows


def split_by_key(keys: Iterable[object], *, valid: float, held_out: float) -> Parts:
    """A split that depends on each row's own key alone: a video is of the same part tonight as it was yesterday.

    Args:
        keys: of each row, such as the video's id.
        valid, held_out: shares, 0..1.
    """
    places = np.array([int(hashlib.sha256(str(key).encode()).hexdigest()[:12], 16) / 16**12 for key in keys])
    of = np.digitize(places, [held_out, held_out + valid])
    return Parts(*(np.flatnonzero(of == part) for part in (2, 1, 0)))


@dataclass(frozen=True)
class Examples:
    """What a task asks, example by example.

    Attributes:
        sides: rows `[n]` of the items that each example looks at, by the name that its head gives them.
        told: what is known of the examples, `[n]`, by name.
    """

    sides: Mapping[str, Rows]
    told: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.sides.values())))

    def take(self, at: NDArray[np.integer[Any]]) -> "Examples":
        """The examples at `at`."""
        sides, told = ({name: rows[at] for name, rows in part.items()} for part in (self.sides, self.told))
        return Examples(sides, told)

    def drawn(self, rng: np.random.Generator, *, most: int) -> "Examples":
        """At most `most` of them, in a drawn order."""
        return self.take(rng.permutation(len(self))[:most])


class Goal(Protocol):
    """A task: what is asked, and the head that answers."""

    @property
    def train(self) -> Examples: ...  # noqa: D102

    @property
    def valid(self) -> Examples: ...  # noqa: D102

    def head(self, dim: int) -> "Head":
        """An untrained head over vectors of length `dim`."""


class Material(ABC):
    """The things that a pretrained encoder makes vectors of, by row, and how its network is trained on them.

    Attributes:
        dim: length of a vector.
        judged: how many are looked at together while judging.
    """

    judged: int

    def __init__(self, n: int, dim: int) -> None:
        self.dim = dim
        self._vectors = np.zeros((n, dim), np.float32)
        self._known = np.zeros(n, np.bool_)

    def vectors(self, rows: Rows) -> Vectors:
        """`[n, dim]` of unit length, by the encoder as it came; each is made once."""
        new = np.unique(rows)
        new = new[~self._known[new]]
        if len(new):
            self._vectors[new] = self._encode(new)
            self._known[new] = True
        return self._vectors[rows]

    @abstractmethod
    def _encode(self, rows: Rows) -> Vectors:
        """See `vectors`; `rows` are distinct and ascending."""

    @abstractmethod
    def body(self, *, layers: int | None) -> Any:
        """The encoder as a network from `inputs` to unit vectors; its last `layers` can be trained, all with None.

        Raises:
            ValueError: there are not so many.
        """

    @abstractmethod
    def inputs(self, rows: Rows, rng: np.random.Generator | None = None) -> Inputs:
        """What the body reads of `rows`. `rng` draws where a step need not see the whole; None shows all of it."""

    def by(self, body: Any, rows: Rows) -> Callable[[Rows], Vectors]:
        """The vectors of `rows` as `body` makes them now, each once, in batches of one shape."""
        distinct = np.unique(rows)
        table = np.empty((len(distinct), self.dim), np.float32)
        for at in range(0, len(distinct), self.judged):
            some = distinct[at : at + self.judged]
            table[at : at + len(some)] = body.predict_on_batch(self.inputs(np.resize(some, self.judged)))[: len(some)]
        return lambda asked: table[np.searchsorted(distinct, asked)]


class Head(RepeatableModel):
    """Inputs: unit vectors `[batch, dim]` by side, and what is told of the examples. `compute_loss` is their mean loss.

    Attributes:
        sides: names of the vectors that it looks at.
    """

    sides: tuple[str, ...]


class Network(RepeatableModel):
    """Inputs `SIDE/NAME` for each side of the head and each input of the body; outputs as the head's."""

    def __init__(self, body: Any, head: Head) -> None:
        super().__init__(name="tuned")
        self.body = body
        self.head = head

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The head over the body's vectors; all sides go through the body as one batch."""
        sides = self.head.sides
        names = sorted({name.partition("/")[2] for name in inputs if "/" in name})
        joined = {name: ops.concatenate([inputs[f"{side}/{name}"] for side in sides]) for name in names}
        vectors = ops.split(self.body(joined, training=training), len(sides))
        return self.head(inputs | dict(zip(sides, vectors, strict=True)), training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The head's."""
        return self.head.compute_loss(x=x, y_pred=y_pred)


@dataclass(frozen=True)
class Tuned:
    """What a tuning left.

    Attributes:
        body: as the material made it, trained; None where it did not change (`frozen`).
        head: trained.
        frozen: the head as it was fitted over the encoder as it came, which the other modes begin from.
        facts: device, software, epochs and the best of them.
    """

    body: Any | None
    head: Any
    frozen: Any
    facts: dict[str, Any]

    def save_head(self, folder: Path) -> None:
        """Write the head's weights, by which the tuned encoder was judged, beside it."""
        save_file(named_weights(self.head), folder / HEAD)


def tune(
    material: Material, goal: Goal, *, params: TunedParams, seed: int, checkpoint: Checkpoint | None = None
) -> Tuned:
    """Train on `goal.train`, stop by `goal.valid`.

    Raises:
        Diverged: loss or weights left the finite numbers.
        ValueError: a part is without examples, or more layers are to be tuned than there are.
    """
    if not (len(goal.train) and len(goal.valid)):
        sizes = f"{len(goal.train)} and {len(goal.valid)}"
        raise ValueError(f"Each part must have texts, or frames, or pairs of them. Received: {sizes}")
    repeatable(seed)
    head = goal.head(material.dim)
    progress = _fit_head(head, material, goal, params, seed)
    if params.mode == "frozen":
        return Tuned(None, head, head, trained_on(progress))
    fitted = weights_of(head)
    network = Network(material.body(layers=None if params.mode == "full" else params.layers), head)
    network(_inputs(material, goal.train.take(np.arange(1))))
    every = np.concatenate(list(goal.valid.sides.values()))
    progress = train(
        network,
        lambda rng: _inputs(material, goal.train.drawn(rng, most=params.draws), rng),
        lambda: mean_loss(head, goal.valid, material.by(network.body, every)),
        params=params,
        batch_size=params.batch_size,
        seed=seed,
        checkpoint=checkpoint,
    )
    frozen = goal.head(material.dim)
    frozen.set_weights(fitted)
    return Tuned(network.body, head, frozen, trained_on(progress))


def _fit_head(head: Head, material: Material, goal: Goal, params: TunedParams, seed: int) -> Progress:
    """The head over the encoder as it is: what `frozen` is, and where the other modes begin.

    A head that knew nothing would send noise through the layers below it.
    """
    loop = params.model_copy(
        update={"learning_rate": params.head_learning_rate, "epochs": params.head_epochs, "jit_compile": False}
    )
    return train(
        head,
        lambda rng: _seen(goal.train.drawn(rng, most=params.draws), material.vectors),
        lambda: mean_loss(head, goal.valid, material.vectors),
        params=loop,
        batch_size=HEAD_BATCH,
        seed=seed,
    )


def _inputs(material: Material, examples: Examples, rng: np.random.Generator | None = None) -> Inputs:
    """What `Network` reads of `examples`."""
    found: Inputs = dict(examples.told)
    for side, rows in examples.sides.items():
        found |= {f"{side}/{name}": array for name, array in material.inputs(rows, rng).items()}
    return found


def _seen(examples: Examples, vectors: Callable[[Rows], Vectors]) -> Inputs:
    """What a `Head` reads of `examples`."""
    return {side: vectors(rows) for side, rows in examples.sides.items()} | dict(examples.told)


def mean_loss(head: Head, examples: Examples, vectors: Callable[[Rows], Vectors]) -> float:
    """Mean over batches of one size, in order; a batch counts by its examples, of which there is one at least.

    Args:
        vectors: of items, by row.
    """
    total = 0.0
    for at in range(0, len(examples), HEAD_BATCH):
        some = examples.take(np.arange(at, min(at + HEAD_BATCH, len(examples))))
        batch = _seen(some, vectors)
        total += float(head.compute_loss(x=batch, y_pred=head.predict_on_batch(batch))) * len(some)
    return total / len(examples)


def unit_length(vectors: Any) -> Any:
    """Rows of a tensor, brought to unit length; a row of zeros stays."""
    return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-12))
