"""Ranking metrics against ranx on equal input, and a whole evaluation's time and memory.

python benchmarks/evaluation.py                      ours and ranx: 20,000 viewers, 10,000 videos, lists of 10
python benchmarks/evaluation.py --viewers 100000     and then a full-ranking evaluation of so many viewers
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import ranx
from numba.typed import List as TypedList
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.itemknn import ItemKnn
from models.params import ItemKnnParams
from models.protocol import Training
from models.sequences import Sequences
from tasks.evaluate import evaluate
from tasks.metrics import ranking_metrics
from tasks.params import Evaluate
from tasks.prepared import Prepared
from tasks.ranker import Ranker
from tasks.split import HOLDOUT, TRAIN

VIEWERS, VIDEOS, K, RELEVANT = 20_000, 10_000, 10, 5
NAMES = {"ndcg": "ndcg", "recall": "recall", "hit": "hit_rate", "mrr": "mrr", "map": "map"}
DAY = 86_400_000
T = TypeVar("T")


def main() -> None:
    """Print one table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--viewers", type=int, default=0, help="viewers of the full-ranking evaluation; 0: none")
    wanted = options.parse_args()
    table = Table("what", "ours", "ranx", "ratio", title=f"{VIEWERS:,} viewers, {VIDEOS:,} videos, k = {K}")
    _against_ranx(table)
    if wanted.viewers:
        _whole(table, wanted.viewers)
    Console().print(table)


def _against_ranx(table: Table) -> None:
    rng = np.random.default_rng(0)
    relevant = rng.permuted(np.tile(np.arange(50), (VIEWERS, 1)), axis=1)[:, :RELEVANT]
    recommended = rng.permuted(np.tile(np.arange(100), (VIEWERS, 1)), axis=1)[:, :K].astype(np.int32)
    # Few distinct videos make hits likely; spread over the catalogue, the same in both.
    spread = rng.permutation(VIDEOS)[:100].astype(np.int32)
    recommended, relevant = spread[recommended], spread[relevant]
    truth = _sequences(relevant)
    names = [f"{name}@{K}" for name in NAMES.values()]
    ours, seconds = _best_of(lambda: ranking_metrics(recommended, truth, ks=[K]))
    (qrels, run), preparing = _best_of(lambda: _for_ranx(recommended, relevant), times=1)
    ranx.evaluate(qrels, run, names)  # compiles
    theirs, their_seconds = _best_of(lambda: ranx.evaluate(qrels, run, names, return_mean=False))
    for name, called in zip(NAMES, names, strict=True):
        mine, other = ours[f"{name}@{K}"], np.asarray(theirs[called])
        apart = np.abs(mine - other).max()
        if apart > 1e-6:
            raise SystemExit(f"{name}@{K} must equal ranx's to 1e-6. Received: a viewer {apart:.1e} apart")
        table.add_row(f"{name}@{K}", f"{mine.mean():.6f}", f"{other.mean():.6f}", f"{apart:.0e} apart")
    table.add_row("metrics, milliseconds", *_pair(seconds, their_seconds))
    table.add_row("with its input made from arrays", *_pair(seconds, their_seconds + preparing))


def _for_ranx(recommended: NDArray[np.int32], relevant: NDArray[np.int32]) -> tuple[Any, Any]:
    """Ranx's own typed lists of (id, score), the cheapest input that its `evaluate` takes."""
    falling = np.arange(K, 0, -1, dtype=np.float64)
    run = [np.column_stack([row, falling]) for row in recommended.astype(np.float64)]
    qrels = [np.column_stack([row, np.ones(RELEVANT)]) for row in relevant.astype(np.float64)]
    return TypedList(qrels), TypedList(run)


def _best_of(act: Callable[[], T], *, times: int = 5) -> tuple[T, float]:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        result = act()
        taken.append(time.perf_counter() - start)
    return result, min(taken)


def _pair(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours * 1000:.1f}", f"{theirs * 1000:.1f}", f"{theirs / ours:.1f} times"


def _sequences(videos: NDArray[np.int32]) -> Sequences:
    viewers, each = videos.shape
    times = np.tile(np.arange(each) * DAY, viewers)
    offsets = np.arange(viewers + 1) * each
    return Sequences(offsets, videos.ravel().astype(np.int32), times, np.ones(videos.size, np.float32))


def _whole(table: Table, viewers: int) -> None:
    """Every video ranked for every viewer by an item-to-item model of real size, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = _synthetic(folder, viewers)
        model = ItemKnn(ItemKnnParams())
        model.fit(Training(prepared.train(), prepared.valid(), n_videos=VIDEOS, now=prepared.facts["now"], seed=0))
        model.save(folder / "model")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            seconds, milliseconds, before, peak = alone.submit(_measured, folder).result()
    table.add_section()
    table.add_row(f"evaluate {viewers:,} viewers, seconds", f"{seconds:.1f}", "", f"{viewers / seconds:,.0f} a second")
    table.add_row("peak memory, MB", f"{peak:.0f}", "", f"{before:.0f} before it")
    table.add_row("one viewer, milliseconds", f"{milliseconds:.2f}", "", "")


def _measured(folder: Path) -> tuple[float, float, float, float]:
    """Seconds, milliseconds a recommendation, and peak memory before and after, in MB."""
    ranker = Ranker(ItemKnn.load(folder / "model"), n_videos=VIDEOS, name="itemknn")
    before = _peak()
    start = time.perf_counter()
    found = evaluate(ranker, Prepared(folder), params=Evaluate(ks=[K]))
    return time.perf_counter() - start, found.milliseconds, before, _peak()


def _synthetic(folder: Path, viewers: int) -> Prepared:
    """A skewed log of 50 events a viewer: a video is drawn with a chance of 1 / (rank + 50)."""
    rng = np.random.default_rng(0)
    chance = 1 / (np.arange(VIDEOS) + 50)
    videos = rng.choice(VIDEOS, size=(viewers, 50), p=chance / chance.sum()).astype(np.int32)
    history = _sequences(videos)
    history.save(folder / "sequences")
    split = np.tile(np.array([TRAIN] * 45 + [HOLDOUT] * 5, np.uint8), viewers)
    np.save(folder / "split.npy", split)
    counts = np.bincount(history.videos[split == TRAIN], minlength=VIDEOS)
    table = {"video_id": np.arange(VIDEOS), "train_events": counts, "first_seen": np.arange(VIDEOS)}
    pl.DataFrame(table).write_parquet(folder / "videos.parquet")
    pl.DataFrame({"user_id": np.arange(viewers)}).write_parquet(folder / "viewers.parquet")
    (folder / "prepared.json").write_text(json.dumps({"now": 50 * DAY, "split_digest": "synthetic"}))
    return Prepared(folder)


def _peak() -> float:
    """Peak resident memory in MB. From /proc, because `ru_maxrss` starts at the peak of the process that started us."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
