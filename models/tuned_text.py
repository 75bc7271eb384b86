"""A text encoder as `models.tuning` trains it, and the Hugging Face folder that it is written back to.

The pooling is the encoder's own, so that what is tuned is the vector that others will use (Reimers and Gurevych,
Sentence-BERT, EMNLP 2019).
"""

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.backend import array_of, keras
from models.encoders.bert_folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, WEIGHTS
from models.encoders.text import TextEncoder, load_backbone
from models.network_state import RepeatableModel
from models.tuning import Inputs, Material, Rows, Tuned, Vectors, unit_length

COPIED = (CONFIG, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, "README.md")

ops = keras.ops


class Texts(Material):
    """Texts and what encodes them; longer ones than `max_tokens` are cut while training."""

    judged = 32

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], *, max_tokens: int) -> None:
        super().__init__(len(texts), encoder.dim)
        self._encoder = encoder
        self._texts = texts
        self._max_tokens = max_tokens

    def _encode(self, rows: Rows) -> Vectors:
        return self._encoder.encode([self._texts[row] for row in rows])

    def body(self, *, layers: int | None) -> "TextBody":
        """See `Material.body`; `layers` are transformer layers."""
        backbone = load_backbone(self._encoder.folder)
        thaw(backbone, layers=layers)
        return TextBody(backbone)

    def inputs(self, rows: Rows, rng: np.random.Generator | None = None) -> Inputs:
        """`ids` and `real`, `[rows, length]` int32: 1 where there is a token, 0 where there is padding."""
        return {name: table[rows] for name, table in self._tokens.items()}

    @cached_property
    def _tokens(self) -> dict[str, NDArray[np.int32]]:
        """Of all texts, padded to the longest of them so that one shape is compiled."""
        tokenizer = self._encoder.folder.tokenizer(max_tokens=self._max_tokens)
        rows = [text.ids for text in tokenizer.encode_batch_fast([self._encoder.prefix + text for text in self._texts])]
        longest = max(len(row) for row in rows)
        ids = np.array([row + [0] * (longest - len(row)) for row in rows], np.int32)
        real = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int32)
        return {"ids": ids, "real": real}


class TextBody(RepeatableModel):
    """Inputs `ids`, `real` `[batch, length]` int32; output the mean of the tokens' states, brought to unit length."""

    def __init__(self, backbone: Any) -> None:
        super().__init__(name="text")
        self.backbone = backbone

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the class says."""
        ids, real = inputs["ids"], inputs["real"]
        given = {"token_ids": ids, "padding_mask": real, "segment_ids": ops.zeros_like(ids)}
        states = self.backbone(given, training=training)["sequence_output"]
        counted = ops.expand_dims(ops.cast(real, states.dtype), -1)
        return unit_length(ops.sum(states * counted, axis=1) / ops.sum(counted, axis=1))


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


def save_text_encoder(folder: Path, *, source: Path, tuned: Tuned) -> None:
    """Write the tuned encoder as a folder that `models.encoders.text.open_text_encoder` opens like any other.

    Tokeniser, config and licence are the source's; so are tensors that the network has no use for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    tensors = load_file(source / WEIGHTS)
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    found = {} if tuned.body is None else folder_tensors(tuned.body.backbone)
    changed = {f"{prefix}{name}": np.ascontiguousarray(array) for name, array in found.items()}
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
