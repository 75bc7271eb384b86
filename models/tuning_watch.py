"""The task `watch`: which videos a viewer watches one after another.

With u = unit(W v), W starting as the identity, over a batch of N pairs (a_i, b_i), p how often a video is in its place,

    loss = mean over i of ( l(a_i; b_1..b_N) + l(b_i; a_1..a_N) ) / 2
    l(a_i; b_1..b_N) = -log softmax_j( s u(a_i).u(b_j) - log p(b_j) )[i]

InfoNCE both ways (van den Oord, Li and Vinyals, Representation learning with contrastive predictive coding, 2018;
Radford et al., CLIP, ICML 2021) with the correction of in-batch negatives for popularity (Yi et al.,
Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys 2019). A video that is in the
batch twice, and the video that asks, are no negatives.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, keras
from models.components import unit
from models.tuning import SHARPNESS, Examples, Head, Parts, Rows, Vectors, unit_length

FIRST, SECOND = "first", "second"
FAR_BELOW = -1e9
QUERIES_A_BLOCK = 1024
LIST = 10

Pairs = NDArray[np.int64]

ops = keras.ops


@dataclass(frozen=True)
class Watched:
    """A `models.tuning.Goal`: of each pair, each finds the other among those of the batch."""

    train: Examples
    valid: Examples

    @classmethod
    def of(cls, pairs: Pairs, parts: Parts) -> "Watched":
        """The task over `pairs` `[n, 2]` of rows, each as often as it was watched; a pair across parts is in none."""
        mixed = np.random.default_rng(0).permutation(pairs)  # neighbours in a batch would be of one viewer
        train, valid = (_examples(within(mixed, rows)) for rows in (parts.train, parts.valid))
        return cls(train, valid)

    def head(self, dim: int) -> "Meeting":
        """See `models.tuning.Goal`."""
        return Meeting(dim)


def within(pairs: Pairs, rows: Rows) -> Pairs:
    """Those of `pairs` `[n, 2]` whose two rows are both among `rows`."""
    return pairs[np.isin(pairs, rows).all(axis=1)]


def _examples(pairs: Pairs) -> Examples:
    sides = {FIRST: pairs[:, 0], SECOND: pairs[:, 1]}
    told: dict[str, NDArray[Any]] = {f"{name}_row": rows.astype(np.int32) for name, rows in sides.items()}
    return Examples(sides, told | {f"{name}_log_share": _log_shares(rows) for name, rows in sides.items()})


def _log_shares(rows: Rows) -> NDArray[np.float32]:
    """`[n]`: the logarithm of how large a part of `rows` `[n]` each of them is."""
    _, at, counts = np.unique(rows, return_inverse=True, return_counts=True)
    return np.asarray(np.log(counts[at] / max(len(rows), 1)), np.float32)


class Meeting(Head):
    """Inputs `first` and `second` `[batch, dim]` of unit length; outputs the like, turned by one matrix."""

    sides = (FIRST, SECOND)

    def __init__(self, dim: int) -> None:
        super().__init__(name="meeting")
        self.turn = keras.layers.Dense(dim, use_bias=False, kernel_initializer="identity", name="turn")
        self.turn.build((None, dim))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        return {side: unit_length(self.turn(inputs[side])) for side in self.sides}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """See the module: a float32 scalar."""
        ways = ((FIRST, SECOND), (SECOND, FIRST))
        return sum(
            in_batch_loss(
                y_pred[ask],
                y_pred[answer],
                asking=x[f"{ask}_row"],
                answers=x[f"{answer}_row"],
                log_shares=x[f"{answer}_log_share"],
            )
            for ask, answer in ways
        ) / len(ways)

    def turned(self, vectors: Vectors) -> Vectors:
        """`[n, dim]` of unit length from the (tuned) encoder's `vectors` `[n, dim]`."""
        return unit(np.asarray(vectors @ array_of(self.turn.kernel), np.float32))


def in_batch_loss(queries: Any, candidates: Any, *, asking: Any, answers: Any, log_shares: Any) -> Any:
    """Mean of -log softmax at each query's own candidate: a scalar.

    Args:
        queries, candidates: unit vectors `[n, dim]`; those of one row belong together.
        asking, answers: `[n]`, which items they are of.
        log_shares: `[n]`, of the candidates.
    """
    logits = SHARPNESS * ops.matmul(queries, ops.transpose(candidates)) - ops.expand_dims(log_shares, 0)
    known = (answers[None, :] == answers[:, None]) | (answers[None, :] == asking[:, None])
    own = ops.eye(ops.shape(logits)[0], dtype="bool")
    left = ops.where(ops.logical_and(known, ops.logical_not(own)), FAR_BELOW, logits)
    return ops.mean(ops.logsumexp(left, axis=-1) - ops.diagonal(logits))


def partners_found(vectors: Vectors, pairs: Pairs) -> dict[str, float]:
    """How well items find those that were watched beside them, among all others, by cosine.

    Equal cosines, and those that are no number, count against the partner.

    Args:
        vectors: `[n, dim]` of unit length.
        pairs: `[m, 2]` rows of `vectors`; each pair is asked once, both ways.

    Returns:
        `recall_at_10`, `mrr`, and how many `videos` and `pairs` there were.
    """
    distinct = np.unique(np.sort(pairs, axis=1), axis=0)
    asked = np.concatenate([distinct, distinct[:, ::-1]])
    blocks = [_ranks(vectors, asked[at : at + QUERIES_A_BLOCK]) for at in range(0, len(asked), QUERIES_A_BLOCK)]
    ranks = np.concatenate([np.zeros(0), *blocks])
    if not len(ranks):
        return {"videos": float(len(vectors)), "pairs": 0.0}
    found = {"recall_at_10": float(np.mean(ranks <= LIST)), "mrr": float(np.mean(1 / ranks))}
    return found | {"videos": float(len(vectors)), "pairs": float(len(distinct))}


def _ranks(vectors: Vectors, asked: Pairs) -> NDArray[np.int64]:
    """`[m]`: the place of each pair's second among all but its first, from 1."""
    cosines = vectors[asked[:, 0]] @ vectors.T
    at = np.arange(len(asked))
    beaten = ~(cosines < cosines[at, asked[:, 1]][:, None])
    beaten[at, asked[:, 0]] = False
    return np.asarray(np.maximum(beaten.sum(axis=1), 1), np.int64)
