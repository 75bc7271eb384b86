"""What networks that predict videos from the order of others share: tied embeddings, and the losses over them.

With h the hidden state at a position, v the video that is to be predicted there and s_i = h . e_i:

    softmax            -s_v + log sum_i exp(s_i), over all videos
    sampled softmax    the same over v and k videos drawn evenly, a drawn one's s_i raised by log(videos / k), so that
                       they stand for all; one draw serves a batch: Hidasi and Karatzoglou, Recurrent neural networks
                       with top-k gains for session-based recommendations, CIKM 2018
    gBCE               (-b log sigmoid(s_v) - sum_i log(1 - sigmoid(s_i))) / (k + 1) over k drawn videos, where
                       b = a (t (1 - 1 / a) + 1 / a) with the sampling rate a = k / (videos - 1) and the calibration t:
                       Petrov and Macdonald, gSASRec: reducing overconfidence in sequential recommendation trained
                       with negative sampling, RecSys 2023, who draw for each position; so does this
"""

from typing import Any

from models.backend import keras
from models.network_state import RepeatableModel
from models.params import SequenceParams

ops = keras.ops
layers = keras.layers

NEVER = -1e9


class SequenceNetwork(RepeatableModel):
    """Tokens to hidden states; the loss scores them against all videos, or against sampled ones.

    Inputs: `[batch, length]` int32 tokens. Outputs: `[batch, length, dim]`. Targets: `[batch, length]` int32, -1 for
    none. The first `n_videos` rows of `embedding` are the video vectors: they read tokens and score targets.
    """

    def __init__(self, params: SequenceParams, n_videos: int, *, name: str, special: int = 2) -> None:
        super().__init__(dtype=params.precision, name=name)
        self.n_videos = n_videos
        self.n_negatives = params.negatives
        self.power = None
        if params.loss == "gbce":
            self.power = positive_power(params.negatives, n_videos=n_videos, calibration=params.calibration)
        small = keras.initializers.RandomNormal(stddev=0.02)
        rows = n_videos + special
        self.embedding = layers.Embedding(rows, params.dim, small, dtype=params.precision, name="embedding")
        self.draws = keras.random.SeedGenerator(0)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean loss over the targets there are: a float32 scalar."""
        hidden, targets = self._predicted(ops.cast(y_pred, "float32"), y)
        counted = ops.cast(ops.greater_equal(targets, 0), "float32")
        losses = self._cross_entropies(hidden, ops.maximum(targets, 0))
        return ops.sum(losses * counted) / ops.maximum(ops.sum(counted), 1.0)

    def _predicted(self, hidden: Any, targets: Any) -> tuple[Any, Any]:
        """Those positions of `hidden` `[batch, length, dim]` and `targets` that may have a target: all."""
        return hidden, targets

    def _cross_entropies(self, hidden: Any, targets: Any) -> Any:
        videos = ops.cast(self.embedding.embeddings[: self.n_videos], "float32")
        if not self.n_negatives:
            logits = ops.matmul(hidden, ops.transpose(videos))
            return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        positive, negative = self._against_drawn(hidden, targets, videos)
        if self.power is not None:
            return gbce(positive, negative, power=self.power)
        return sampled_softmax(positive, negative, stands_for=self.n_videos / self.n_negatives)

    def _against_drawn(self, hidden: Any, targets: Any, videos: Any) -> tuple[Any, Any]:
        """Scores `[batch, positions]` of targets, and `[batch, positions, k]` of the videos drawn but the target."""
        own = () if self.power is None else tuple(ops.shape(targets))  # positions that have draws of their own
        drawn = keras.random.randint((*own, self.n_negatives), 0, self.n_videos, dtype="int32", seed=self.draws)
        positive = ops.sum(hidden * ops.take(videos, targets, axis=0), axis=-1)
        among = ops.take(videos, drawn, axis=0)
        negative = ops.einsum("bpd,bpkd->bpk", hidden, among) if own else ops.matmul(hidden, ops.transpose(among))
        is_target = ops.equal(ops.expand_dims(targets, -1), drawn)
        return positive, ops.where(is_target, NEVER, negative)


def sampled_softmax(positive: Any, negative: Any, *, stands_for: float) -> Any:
    """`[...]` from scores `[...]` and `[..., k]`; each of the latter stands for that many videos."""
    scores = [ops.expand_dims(positive, -1), negative + ops.log(stands_for)]
    return ops.logsumexp(ops.concatenate(scores, axis=-1), axis=-1) - positive


def gbce(positive: Any, negative: Any, *, power: float) -> Any:
    """`[...]` from scores `[...]` and `[..., k]`: cross-entropy of sigmoids, the positive's raised to `power`."""
    misses = ops.sum(ops.softplus(negative), axis=-1)
    return (power * ops.softplus(-positive) + misses) / (negative.shape[-1] + 1)


def positive_power(negatives: int, *, n_videos: int, calibration: float) -> float:
    """The b of gBCE: 1, plain binary cross-entropy, at calibration 0; the sampling rate at calibration 1."""
    rate = min(negatives / max(n_videos - 1, 1), 1.0)
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)
