"""A causal transformer over watched videos, in `keras.ops` and `keras.layers` alone.

Kang and McAuley, Self-attentive sequential recommendation, ICDM 2018, with the pre-normalised blocks of GPT-2 and a
softmax over the catalogue in place of one sampled negative.
"""

from typing import Any

from models.backend import keras
from models.network_state import RepeatableModel
from models.params import SasRecParams
from models.windows import pad_token

ops = keras.ops
layers = keras.layers

HIDDEN_RATIO = 4


class Block(keras.layers.Layer):  # type: ignore[misc]
    """Attention, then a two-layer perceptron, each on normalised input and added to it."""

    def __init__(self, params: SasRecParams, *, name: str) -> None:
        dtype, dim = params.precision, params.dim
        super().__init__(dtype=dtype, name=name)
        self.before_attention = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="before_attention")
        self.attention = layers.MultiHeadAttention(
            params.heads, dim // params.heads, dropout=params.dropout, dtype=dtype, name="attention"
        )
        self.before_perceptron = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="before_perceptron")
        self.widen = layers.Dense(HIDDEN_RATIO * dim, activation="gelu", dtype=dtype, name="widen")
        self.narrow = layers.Dense(dim, dtype=dtype, name="narrow")
        self.dropout = layers.Dropout(params.dropout, dtype=dtype)

    def call(self, x: Any, attendable: Any, training: bool = False) -> Any:
        """`[batch, length, dim]` to the same; `attendable` `[batch, 1, length]`: which keys may be looked at."""
        normed = self.before_attention(x)
        attended = self.attention(normed, normed, attention_mask=attendable, use_causal_mask=True, training=training)
        x = x + self.dropout(attended, training=training)
        hidden = self.narrow(self.widen(self.before_perceptron(x)))
        return x + self.dropout(hidden, training=training)


class Transformer(RepeatableModel):
    """Tokens to hidden states; the loss scores them against all videos, or against sampled ones.

    Inputs: `[batch, length]` int32 tokens. Outputs: `[batch, length, dim]`. Targets: `[batch, length]` int32, -1 for
    none. The first `n_videos` rows of `embedding` are the video vectors: they read tokens and score targets.
    """

    def __init__(self, params: SasRecParams, n_videos: int) -> None:
        dtype = params.precision
        super().__init__(dtype=dtype, name="sasrec")
        self.n_videos = n_videos
        self.n_negatives = params.negatives
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.embedding = layers.Embedding(n_videos + 2, params.dim, small, dtype=dtype, name="embedding")
        self.positions = layers.Embedding(params.max_length, params.dim, small, dtype=dtype, name="positions")
        self.dropout = layers.Dropout(params.dropout, dtype=dtype)
        self.blocks = [Block(params, name=f"block_{at}") for at in range(params.blocks)]
        self.last = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="last")
        self.draws = keras.random.SeedGenerator(0)

    def call(self, tokens: Any, training: bool = False) -> Any:
        """`[batch, length]` int32 to `[batch, length, dim]`."""
        real = ops.expand_dims(ops.not_equal(tokens, pad_token(self.n_videos)), 1)
        x = self.embedding(tokens) + self.positions(ops.arange(tokens.shape[1]))
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, attendable=real, training=training)
        return self.last(x)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean cross-entropy over the targets there are: a float32 scalar."""
        counted = ops.cast(ops.greater_equal(y, 0), "float32")
        targets = ops.maximum(y, 0)
        hidden = ops.cast(y_pred, "float32")
        losses = self._sampled(hidden, targets) if self.n_negatives else self._full(hidden, targets)
        return ops.sum(losses * counted) / ops.maximum(ops.sum(counted), 1.0)

    def _videos(self) -> Any:
        return ops.cast(self.embedding.embeddings[: self.n_videos], "float32")

    def _full(self, hidden: Any, targets: Any) -> Any:
        logits = ops.matmul(hidden, ops.transpose(self._videos()))
        return keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)

    def _sampled(self, hidden: Any, targets: Any) -> Any:
        """Against negatives drawn evenly, one draw a batch, weighed so as to stand for the whole catalogue."""
        videos = self._videos()
        drawn = keras.random.randint((self.n_negatives,), 0, self.n_videos, dtype="int32", seed=self.draws)
        positive = ops.sum(hidden * ops.take(videos, targets, axis=0), axis=-1, keepdims=True)
        negative = ops.matmul(hidden, ops.transpose(ops.take(videos, drawn, axis=0)))
        negative = negative + ops.log(self.n_videos / self.n_negatives)
        is_target = ops.equal(ops.expand_dims(targets, -1), drawn)
        negative = ops.where(is_target, -1e9, negative)
        return ops.logsumexp(ops.concatenate([positive, negative], axis=-1), axis=-1) - positive[..., 0]
