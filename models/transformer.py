"""A transformer over watched videos, in `keras.ops` and `keras.layers` alone: GPT-2's pre-normalised blocks."""

from typing import Any

from models.backend import keras
from models.params import TransformerParams
from models.sequence_network import SequenceNetwork
from models.windows import pad_token

ops = keras.ops
layers = keras.layers

HIDDEN_RATIO = 4


class Block(keras.layers.Layer):  # type: ignore[misc]
    """Attention, then a two-layer perceptron, each on normalised input and added to it."""

    def __init__(self, params: TransformerParams, *, causal: bool, name: str) -> None:
        dtype, dim = params.precision, params.dim
        super().__init__(dtype=dtype, name=name)
        self.causal = causal
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
        attended = self.attention(
            normed, normed, attention_mask=attendable, use_causal_mask=self.causal, training=training
        )
        x = x + self.dropout(attended, training=training)
        hidden = self.narrow(self.widen(self.before_perceptron(x)))
        return x + self.dropout(hidden, training=training)


class Transformer(SequenceNetwork):
    """A `SequenceNetwork` whose positions look at those before them if `causal`, otherwise at all; never at padding."""

    def __init__(self, params: TransformerParams, n_videos: int, *, name: str, causal: bool, special: int = 2) -> None:
        super().__init__(params, n_videos, name=name, special=special)
        dtype, small = params.precision, self.embedding.embeddings_initializer
        self.positions = layers.Embedding(params.max_length, params.dim, small, dtype=dtype, name="positions")
        self.dropout = layers.Dropout(params.dropout, dtype=dtype)
        self.blocks = [Block(params, causal=causal, name=f"block_{at}") for at in range(params.blocks)]
        self.last = layers.LayerNormalization(epsilon=1e-6, dtype=dtype, name="last")

    def call(self, tokens: Any, training: bool = False) -> Any:
        """`[batch, length]` int32 to `[batch, length, dim]`."""
        real = ops.expand_dims(ops.not_equal(tokens, pad_token(self.n_videos)), 1)
        x = self.embedding(tokens) + self.positions(ops.arange(tokens.shape[1]))
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, attendable=real, training=training)
        return self.last(x)
