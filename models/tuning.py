"""A pretrained text encoder goes on learning, on the platform's own task: which category a video is of.

Over the encoder's unit vector v stands one layer: p(category) ~ exp(s (W v) + b), with s fixed, trained by
cross-entropy. `frozen` trains W and b alone; `top` the encoder's last layers with them (Howard and Ruder, Universal
language model fine-tuning for text classification, ACL 2018, on how much to thaw); `full` all of it. The pooling is the
encoder's own, so that what is tuned is the vector that others will use (Reimers and Gurevych, Sentence-BERT, EMNLP
2019).
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.backend import array_of, keras
from models.checkpoint import Checkpoint
from models.encoders.bert_folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, WEIGHTS
from models.encoders.text import TextEncoder, load_backbone
from models.learning import Progress, shuffled, start, train, trained_on
from models.network_state import RepeatableModel
from models.params import TunedTextParams

COPIED = (CONFIG, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, "README.md")
# What a cosine is multiplied by before the softmax: at 1, the most that a unit vector can say would be too little.
SHARPNESS = 20.0
TEXTS_A_BATCH = 32
HEAD_BATCH = 256

Vectors = NDArray[np.float32]
Labels = NDArray[np.int32]

ops = keras.ops
layers = keras.layers


@dataclass(frozen=True)
class Labelled:
    """Texts and the number of each one's category."""

    texts: Sequence[str]
    labels: Labels

    def take(self, rows: NDArray[np.integer[Any]]) -> "Labelled":
        """The texts at `rows`."""
        return Labelled([self.texts[row] for row in rows], self.labels[rows])


@dataclass(frozen=True)
class Split:
    """Three parts of a catalogue's texts."""

    train: Labelled
    valid: Labelled
    held_out: Labelled


def split_by_key(data: Labelled, keys: Iterable[object], *, valid: float, held_out: float) -> Split:
    """A split that depends on each text's own key alone: a video is of the same part tonight as it was yesterday.

    Args:
        data: all texts.
        keys: of each text, such as the video's id.
        valid, held_out: shares, 0..1.
    """
    places = np.array([int(hashlib.sha256(str(key).encode()).hexdigest()[:12], 16) / 16**12 for key in keys])
    of = np.digitize(places, [held_out, held_out + valid])
    return Split(*(data.take(np.flatnonzero(of == part)) for part in (2, 1, 0)))


@dataclass(frozen=True)
class Tuned:
    """What a tuning left.

    Attributes:
        tensors: the encoder's, in the names of its folder; None where none changed (`frozen`).
        kernel, bias: the head's, `[dim, categories]` and `[categories]`.
        facts: device, software, epochs and the best of them.
    """

    tensors: Mapping[str, NDArray[Any]] | None
    kernel: Vectors
    bias: Vectors
    facts: dict[str, Any]

    def predict(self, vectors: Vectors) -> Labels:
        """`[n]`: the likeliest category of each of the (tuned) encoder's `vectors` `[n, dim]`."""
        logits = SHARPNESS * vectors @ self.kernel + self.bias
        return np.asarray(logits.argmax(axis=1), np.int32)


def tune(
    encoder: TextEncoder,
    data: Split,
    *,
    categories: int,
    params: TunedTextParams,
    seed: int,
    checkpoint: Checkpoint | None = None,
) -> Tuned:
    """Train on `data.train`, stop by `data.valid`.

    Raises:
        Diverged: loss or weights left the finite numbers.
        ValueError: a part is without texts, or more layers are to be tuned than there are.
    """
    if not (len(data.train.texts) and len(data.valid.texts)):
        raise ValueError(f"Each part must have texts. Received: {len(data.train.texts)} and {len(data.valid.texts)}")
    start(seed)
    head = Head(encoder.dim, categories)
    progress = _fit_head(head, encoder, data, params, seed)
    if params.mode == "frozen":
        return Tuned(None, array_of(head.choice.kernel), array_of(head.choice.bias), trained_on(progress))
    backbone = load_backbone(encoder.folder)
    thaw(backbone, layers=None if params.mode == "full" else params.layers)
    network = Network(backbone, head)
    ours, theirs = (_tokens(encoder, part, params.max_tokens) for part in (data.train, data.valid))
    network({name: ours[name][:1] for name in ("ids", "real")})
    progress = train(
        network,
        lambda rng: shuffled(ours, rng),
        lambda: _mean_loss(network, theirs),
        params=params,
        batch_size=params.batch_size,
        seed=seed,
        checkpoint=checkpoint,
    )
    kernel, bias = array_of(head.choice.kernel), array_of(head.choice.bias)
    return Tuned(folder_tensors(backbone), kernel, bias, trained_on(progress))


def thaw(backbone: Any, *, layers: int | None) -> None:
    """Let the last `layers` transformer layers of `backbone` be trained and no other weight; all with None.

    Raises:
        ValueError: there are not so many.
    """
    if layers is None:
        backbone.trainable = True
        backbone.get_layer("pooled_dense").trainable = False  # nothing here looks at the pooler
        return
    if not 1 <= layers <= backbone.num_layers:
        raise ValueError(f"layers must lie in 1..{backbone.num_layers}. Received: layers={layers}")
    tuned = {f"transformer_layer_{at}" for at in range(backbone.num_layers - layers, backbone.num_layers)}
    for layer in backbone.layers:
        layer.trainable = layer.name in tuned


class Head(RepeatableModel):
    """Inputs `vectors` `[batch, dim]` of unit length, and `labels`; output logits `[batch, categories]`."""

    def __init__(self, dim: int, categories: int) -> None:
        super().__init__(name="head")
        self.choice = layers.Dense(categories, kernel_initializer="zeros", name="choice")
        self.choice.build((None, dim))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        return self.choice(SHARPNESS * inputs["vectors"])

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean cross-entropy: a float32 scalar."""
        return ops.mean(keras.losses.sparse_categorical_crossentropy(x["labels"], y_pred, from_logits=True))


class Network(RepeatableModel):
    """Inputs `ids`, `real` `[batch, length]` int32, and `labels`; output logits `[batch, categories]`."""

    def __init__(self, backbone: Any, head: Head) -> None:
        super().__init__(name="tuned_text")
        self.backbone = backbone
        self.head = head

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The head over the mean of the tokens' states, brought to unit length."""
        ids, real = inputs["ids"], inputs["real"]
        given = {"token_ids": ids, "padding_mask": real, "segment_ids": ops.zeros_like(ids)}
        states = self.backbone(given, training=training)["sequence_output"]
        counted = ops.expand_dims(ops.cast(real, states.dtype), -1)
        means = ops.sum(states * counted, axis=1) / ops.sum(counted, axis=1)
        return self.head({"vectors": means / ops.sqrt(ops.sum(ops.square(means), axis=-1, keepdims=True))})

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Mean cross-entropy: a float32 scalar."""
        return self.head.compute_loss(x=x, y_pred=y_pred)


def save_encoder(folder: Path, *, source: Path, tuned: Tuned) -> None:
    """Write the tuned encoder as a folder that `models.encoders.text.open_text_encoder` opens like any other.

    Tokeniser, config and licence are the source's; so are tensors that the network has no use for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    tensors = load_file(source / WEIGHTS)
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    changed = {f"{prefix}{name}": np.ascontiguousarray(array) for name, array in (tuned.tensors or {}).items()}
    if strangers := changed.keys() - tensors.keys():
        raise ValueError(f"{source / WEIGHTS} must hold every tensor that was tuned. Received: no {min(strangers)}")
    save_file(tensors | changed, folder / WEIGHTS, metadata={"format": "pt"})


def folder_tensors(backbone: Any) -> dict[str, NDArray[Any]]:
    """The weights of a `keras_hub.models.BertBackbone` in the names and shapes of a Hugging Face folder.

    The reverse of what keras-hub does when it loads one: a kernel is `[in, out]` there and `[out, in]` here, and the
    heads are an axis of their own there. The pooler is left out, as nothing here computes it.
    """
    dim = int(backbone.hidden_dim)
    found: dict[str, NDArray[Any]] = {}
    for weight in backbone.weights:
        path, array = weight.path, array_of(weight)
        if path.startswith("pooled_dense/"):
            continue
        if path.endswith("/kernel"):
            array = (array.reshape(dim, dim) if "self_attention_layer/" in path else array).T
        found[_folder_name(path)] = array.reshape(-1) if path.endswith("/bias") else array
    return found


PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "segment_embedding": "embeddings.token_type_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
}


def _folder_name(path: str) -> str:
    """`transformer_layer_0/self_attention_layer/key/bias` as `encoder.layer.0.attention.self.key.bias`."""
    *_, part, kind = path.split("/")
    ending = "bias" if kind in ("bias", "beta") else "weight"
    layer = path.partition("/")[0].removeprefix("transformer_layer_")
    return f"encoder.layer.{layer}.{PARTS[part]}.{ending}" if layer.isdigit() else f"{PARTS[part]}.{ending}"


def _fit_head(head: Head, encoder: TextEncoder, data: Split, params: TunedTextParams, seed: int) -> Progress:
    """The head over the encoder as it is: what `frozen` is, and where the other modes begin.

    Vectors are computed once. A head that knew nothing would send noise through the layers below it.
    """
    ours, theirs = ({"vectors": encoder.encode(part.texts), "labels": part.labels} for part in (data.train, data.valid))
    loop = params.model_copy(
        update={"learning_rate": params.head_learning_rate, "epochs": params.head_epochs, "jit_compile": False}
    )
    return train(
        head,
        lambda rng: shuffled(ours, rng),
        lambda: _mean_loss(head, theirs),
        params=loop,
        batch_size=HEAD_BATCH,
        seed=seed,
    )


def _tokens(encoder: TextEncoder, data: Labelled, length: int) -> dict[str, NDArray[np.int32]]:
    """`ids` and `real`, `[texts, length]`, all texts padded to the longest of them so that one shape is compiled."""
    tokenizer = encoder.folder.tokenizer(max_tokens=length)
    rows = [text.ids for text in tokenizer.encode_batch_fast([encoder.prefix + text for text in data.texts])]
    longest = max(len(row) for row in rows)
    ids = np.array([row + [0] * (longest - len(row)) for row in rows], np.int32)
    real = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int32)
    return {"ids": ids, "real": real, "labels": data.labels}


def _mean_loss(network: Any, examples: Mapping[str, NDArray[Any]]) -> float:
    """Mean cross-entropy, in batches of one shape; the last one is filled up with the first text."""
    labels, size, logits = examples["labels"], TEXTS_A_BATCH, []
    for at in range(0, len(labels), size):
        rows = np.arange(at, at + size)
        rows[rows >= len(labels)] = 0
        batch = {name: array[rows] for name, array in examples.items()}
        logits.append(np.asarray(network.predict_on_batch(batch), np.float64))
    told = np.concatenate(logits)[: len(labels)]
    told -= told.max(axis=1, keepdims=True)
    return float((np.log(np.exp(told).sum(axis=1)) - told[np.arange(len(labels)), labels]).mean())
