"""BERT's forward pass, written out over the weights of a keras-hub backbone.

Devlin et al., BERT, NAACL 2019; pooled as in Reimers and Gurevych, Sentence-BERT, EMNLP 2019. It computes what
`keras_hub.models.BertBackbone` does, but for the exact GELU of the original in place of its approximation by tanh, and
in fewer and larger products: tokens of all texts as the rows of one matrix; queries, keys and values at once.

A text's vector must not depend on its place in the batch. Products of one shape sum each row in one order. Elementwise
functions do not: TensorFlow takes the last elements of an array, those that fill no vector register, through another
approximation of exp, erf or 1/sqrt. So the tokens of a batch must be a multiple of `LANES`, and softmax is spelt out.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backend import array_of, keras

ops = keras.ops

EPSILON = 1e-12
FAR_BELOW = -1e9
LANES = 16  # float32 values in the widest vector register (AVX-512)

Shape = tuple[int | None, ...]
Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


class BertForward:
    """Sentence vectors of token ids. Embedding, layer and pooling are each compiled once, for all layers and shapes."""

    def __init__(self, backbone: Any) -> None:
        weights = {weight.path: array_of(weight) for weight in backbone.weights}
        self._heads, self._dim = int(backbone.num_heads), int(backbone.hidden_dim)
        self._embeddings = [ops.convert_to_tensor(array) for array in _embedding_arrays(weights)]
        self._layers = [
            [ops.convert_to_tensor(array) for array in _layer_arrays(weights, layer, heads=self._heads)]
            for layer in range(backbone.num_layers)
        ]
        tokens, states, bias = ((None, None), "int32"), ((None, self._dim), "float32"), ((None, 1, 1, None), "float32")
        self._embed = compiled(self._embedded, [tokens, _like(self._embeddings)])
        self._layer = compiled(self._after_layer, [states, bias, _like(self._layers[0])])
        self._pool = compiled(self._pooled, [states, tokens])

    def __call__(self, ids: Ints, real: Ints) -> Floats:
        """Unit vectors `[batch, dim]`.

        Args:
            ids: `[batch, length]` tokens, `batch * length` a multiple of `LANES`.
            real: `[batch, length]`, 1 where there is a token, 0 where there is padding; one token a row at least.
        """
        tokens, counted = ops.convert_to_tensor(ids), ops.convert_to_tensor(real)
        bias = ops.convert_to_tensor(np.where(real, np.float32(0), np.float32(FAR_BELOW))[:, None, None, :])
        states = self._embed(tokens, self._embeddings)
        for layer in self._layers:
            states = self._layer(states, bias, layer)
        means = np.asarray(self._pool(states, counted))
        unit: Floats = means / np.sqrt(np.square(means).sum(axis=1, keepdims=True))  # in NumPy: few, and rounded right
        return unit

    def _embedded(self, ids: Any, weights: Any) -> Any:
        words, positions, gamma, beta = weights
        x = ops.take(words, ids, axis=0) + positions[: ops.shape(ids)[1]]
        return _normalised(ops.reshape(x, (-1, self._dim)), gamma, beta)

    def _after_layer(self, x: Any, bias: Any, weights: Any) -> Any:
        qkv, qkv_bias, out, out_bias, gamma, beta, widen, widen_bias, narrow, narrow_bias, last_gamma, last_beta = (
            weights
        )
        attended = self._attended(ops.matmul(x, qkv) + qkv_bias, bias)
        x = _normalised(x + (ops.matmul(attended, out) + out_bias), gamma, beta)
        wide = ops.gelu(ops.matmul(x, widen) + widen_bias, approximate=False)
        return _normalised(x + (ops.matmul(wide, narrow) + narrow_bias), last_gamma, last_beta)

    def _attended(self, qkv: Any, bias: Any) -> Any:
        """`[tokens, 3 * dim]` queries, keys and values to `[tokens, dim]`."""
        split = ops.reshape(qkv, (-1, ops.shape(bias)[-1], 3, self._heads, self._dim // self._heads))
        query, key, value = ops.unstack(ops.transpose(split, (2, 0, 3, 1, 4)), 3)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + bias
        powers = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
        mixed = ops.matmul(powers / ops.sum(powers, axis=-1, keepdims=True), value)
        return ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, self._dim))

    def _pooled(self, states: Any, real: Any) -> Any:
        counted = ops.expand_dims(ops.cast(real, "float32"), -1)
        by_text = ops.reshape(states, (-1, ops.shape(real)[1], self._dim))
        return ops.sum(by_text * counted, axis=1) / ops.sum(counted, axis=1)


def compiled(function: Callable[..., Any], signature: list[Any]) -> Callable[..., Any]:
    """`function` as one graph, for arrays of all shapes that `signature` allows.

    On TensorFlow without XLA: on a CPU its products are no faster than oneDNN's, and it compiles each shape anew, for
    seconds (benchmarks/text.py). One trace for all shapes also makes a text's vector independent of which shape came
    first. On JAX XLA is all there is, and compiles once a shape.

    Args:
        function: of tensors to tensors, in `keras.ops`.
        signature: for each argument a (shape, dtype), or a list of them.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def spec(of: Any) -> Any:
            return [spec(one) for one in of] if isinstance(of, list) else tf.TensorSpec(*of)

        graph: Callable[..., Any] = tf.function(function, jit_compile=False).get_concrete_function(*spec(signature))
        return graph
    if backend == "jax":
        import jax

        return jax.jit(function)  # type: ignore[no-any-return]
    return function


def _like(tensors: Iterable[Any]) -> list[tuple[Shape, str]]:
    return [(tuple(tensor.shape), "float32") for tensor in tensors]


def _normalised(x: Any, gamma: Any, beta: Any) -> Any:
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return centred * ops.rsqrt(variance + EPSILON) * gamma + beta


def _embedding_arrays(weights: dict[str, Floats]) -> list[Floats]:
    """Words; positions with the first segment's vector added, the only one a single text has; normalisation."""
    positions = _ending(weights, "position_embedding/position_embeddings", "position_embedding/embeddings")
    positions = positions + weights["segment_embedding/embeddings"][0]
    norm = [weights[f"embeddings_layer_norm/{name}"] for name in ("gamma", "beta")]
    return [weights["token_embedding/embeddings"], positions, *norm]


def _ending(weights: dict[str, Floats], *paths: str) -> Floats:
    return next(weights[path] for path in paths if path in weights)


def _layer_arrays(weights: dict[str, Floats], layer: int, *, heads: int) -> list[Floats]:
    """One layer's matrices `[in, out]` and vectors, in the order of `_after_layer`; queries come scaled."""

    def of(path: str) -> Floats:
        return weights[f"transformer_layer_{layer}/{path}"]

    dim = len(of("self_attention_layer_norm/gamma"))
    attention = "self_attention_layer"
    kernels = [of(f"{attention}/{name}/kernel").reshape(dim, dim) for name in ("query", "key", "value")]
    biases = [of(f"{attention}/{name}/bias").reshape(dim) for name in ("query", "key", "value")]
    scale = np.float32((dim // heads) ** -0.5)
    return [
        np.concatenate([kernels[0] * scale, *kernels[1:]], axis=1),
        np.concatenate([biases[0] * scale, *biases[1:]]),
        of(f"{attention}/attention_output/kernel").reshape(dim, dim),
        of(f"{attention}/attention_output/bias"),
        of(f"{attention}_norm/gamma"),
        of(f"{attention}_norm/beta"),
        of("feedforward_intermediate_dense/kernel"),
        of("feedforward_intermediate_dense/bias"),
        of("feedforward_output_dense/kernel"),
        of("feedforward_output_dense/bias"),
        of("feedforward_layer_norm/gamma"),
        of("feedforward_layer_norm/beta"),
    ]
