"""A local Hugging Face folder of a BERT: what must be in it, what must not, its tokeniser, digest and licence."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import BertWordPieceTokenizer, Tokenizer

from models.encoders.brought import PICKLES, loading, pickle_in

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
VOCABULARY = "vocab.txt"

UNREAD = PICKLES | {".h5"}  # a text encoder has safetensors

# What keras-hub's BERT computes and takes from no config: another value would load and give other vectors in silence.
FIXED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
SHAPE = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers")

SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT"}
FRONT_MATTER = re.compile(r"\A---\n(.*?)^---$", re.DOTALL | re.MULTILINE)
LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class BertFolder:
    """A checked folder; made by `open_bert_folder`."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return _mapping(self.path / CONFIG)

    @property
    def dim(self) -> int:
        """Length of a token's vector."""
        return int(self.config["hidden_size"])

    @property
    def max_tokens(self) -> int:
        """Longest text that the weights have positions for, in tokens."""
        return int(self.config["max_position_embeddings"])

    @property
    def licence(self) -> str:
        """SPDX id that the front matter of `README.md` states, `unknown` when it states none."""
        readme = self.path / "README.md"
        front = FRONT_MATTER.match(readme.read_text(encoding="utf-8")) if readme.is_file() else None
        stated = LICENCE.search(front.group(1)) if front else None
        return SPDX.get(stated.group(1).lower(), stated.group(1)) if stated else "unknown"

    def tokenizer(self, *, max_tokens: int) -> Tokenizer:
        """The folder's own, fast one; it cuts at `max_tokens` (the closing token stays) and does not pad."""
        tokenizer = self._tokenizer()
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        return tokenizer

    def digest(self) -> str:
        """SHA-256 over the bytes of weights and tokeniser and the shape that the config gives the network."""
        digest = hashlib.sha256()
        for file in (WEIGHTS, self._tokenizer_file):
            digest.update(_file_digest(self.path / file))
        options = _mapping(self.path / TOKENIZER_CONFIG) if self._tokenizer_file == VOCABULARY else {}
        used = {name: self.config[name] for name in SHAPE} | {"lowercase": options.get("do_lower_case", True)}
        digest.update(json.dumps(used, sort_keys=True).encode())
        return digest.hexdigest()

    @property
    def _tokenizer_file(self) -> str:
        return TOKENIZER if (self.path / TOKENIZER).is_file() else VOCABULARY

    def _tokenizer(self) -> Tokenizer:
        path = self.path / self._tokenizer_file
        with loading(f"{path} is no tokeniser", received=f"{path.stat().st_size} bytes"):
            if self._tokenizer_file == TOKENIZER:
                return Tokenizer.from_file(str(path))
            lowercase = _mapping(self.path / TOKENIZER_CONFIG).get("do_lower_case", True)
            made: Tokenizer = BertWordPieceTokenizer(str(path), lowercase=lowercase)._tokenizer
            return made


def open_bert_folder(path: Path) -> BertFolder:
    """The folder at `path`, checked; nothing of it is loaded yet.

    Raises:
        ValueError: a file is missing, one is a pickle (a loader that can run code, wherever in the folder), or the
            config is not of a BERT that keras-hub computes.
    """
    if not path.is_dir():
        raise ValueError(f"A text encoder is minilm, e5 or a local folder. Received: {path}")
    if pickle := pickle_in(path, UNREAD):
        raise ValueError(f"A text encoder's folder must hold no pickle. Received: {pickle}")
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise ValueError(f"A text encoder's folder must hold {name}. Received: {path}")
    if not any((path / name).is_file() for name in (TOKENIZER, VOCABULARY)):
        raise ValueError(f"A text encoder's folder must hold {TOKENIZER} or {VOCABULARY}. Received: {path}")
    folder = BertFolder(path)
    _check_config(folder.config, path / CONFIG)
    return folder


def _check_config(config: dict[str, Any], path: Path) -> None:
    for name, value in FIXED.items():
        if config.get(name, value) != value:
            raise ValueError(f"{path} must have {name} {value}. Received: {config[name]!r}")
    for name in SHAPE:
        if not isinstance(config.get(name), int):
            raise ValueError(f"{path} must have a whole number {name}. Received: {config.get(name)!r}")


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}. Received: {path.stat().st_size} bytes") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping. Received: {type(content).__name__}")
    return content


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
