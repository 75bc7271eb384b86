"""Each candidate at ten million events: does it fit in 8 GB on two cores, and how long does it take?

    python -m benchmarks.generate build/ten-million
    python -m benchmarks.scale build/ten-million --candidates popularity itemknn userknn ials ease

Each runs in a process of its own, whose peak memory is asked of the kernel (Linux), histories included. Rankings are of
`--viewers` drawn ones. One whose memory is short says so before it starts; one that takes longer than `--seconds` is
ended and named.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from models.catalogue import CLASSES, recommender
from models.closed_form import needed_bytes
from models.protocol import Diverged, Training
from models.ranking import top_k
from models.sequences import Sequences
from tasks.params import load_params

ROOT = Path(__file__).parents[1]
LIMIT = 8e9
SQUARES = ("ease", "easemarkov")  # ask the machine for the memory of a dense square; this one may have more than LIMIT


def histories_of(source: Path) -> tuple[Sequences, int]:
    """Every event of a source that `benchmarks.generate` left, by user and time; and the number of videos."""
    import polars as pl

    columns = (pl.col("user_id").cast(pl.Int32), pl.col("video_id").cast(pl.Int32), pl.col("timestamp").to_physical())
    events = pl.scan_parquet(source / "events" / "*.parquet").select(columns).sort("user_id", "timestamp").collect()
    lengths = np.bincount(events["user_id"].to_numpy())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    videos, times = events["video_id"].to_numpy().copy(), events["timestamp"].to_numpy().astype(np.int64)
    n_videos = pl.scan_parquet(source / "videos.parquet").select(pl.len()).collect().item()
    return Sequences(offsets, videos, times, np.ones(len(videos), np.float32)), n_videos


def measure(name: str, source: Path, overrides: list[str], viewers: int) -> dict[str, Any]:
    """Fit and rank in this process; seconds of each, peak bytes, or why it refused."""
    history, n_videos = histories_of(source)
    none = history.where(np.zeros(len(history.videos), np.bool_))
    params = getattr(load_params(ROOT / "params.yaml", overrides).train, name)
    if name in SQUARES and (needed := needed_bytes(n_videos, params.neighbours)) > LIMIT:
        return {"refused": f"refuses where {needed / 1e9:.1f} GB are not free"}
    model = recommender(name, params)
    began = time.perf_counter()
    try:
        model.fit(Training(history, none, n_videos=n_videos, now=int(history.times.max()), seed=1))
    except Diverged as error:
        return {"refused": str(error)}
    fit = time.perf_counter() - began
    some = history.take(np.random.default_rng(1).choice(history.n_viewers, viewers, replace=False))
    began = time.perf_counter()
    top_k(model.viewer_vectors(some), model.video_vectors(), some, 20)
    return {"fit": fit, "rank": time.perf_counter() - began, "peak": _peak()}


def _peak(process: int | str = "self") -> int:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def child(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own, ended after the time it has."""
    command = [sys.executable, "-m", "benchmarks.scale", str(asked.source), "--child", name]
    command += ["--viewers", str(asked.viewers), *(part for each in asked.set for part in ("--set", each))]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, errors = running.communicate(timeout=asked.seconds)
    except subprocess.TimeoutExpired:
        peak = _peak(running.pid)
        running.kill()
        running.communicate()
        return {"peak": peak, "refused": f"not done after {asked.seconds:.0f} s"}
    if running.returncode:
        return {"refused": (errors.strip().splitlines() or [f"ended with {running.returncode}"])[-1]}
    told: dict[str, Any] = json.loads(out)
    return told


def row_of(name: str, told: dict[str, Any], viewers: int) -> list[str]:
    """Cells of the table."""
    peak = f"{told['peak'] / 1e9:.2f}" if "peak" in told else ""
    if "refused" in told:
        return [name, peak, "", "", told["refused"]]
    fits = "yes" if told["peak"] < LIMIT else "no"
    return [name, peak, f"{told['fit']:.1f}", f"{viewers / told['rank']:,.0f}", fits]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="what benchmarks.generate left")
    parser.add_argument("--candidates", nargs="+", choices=CLASSES, default=["popularity", "userknn", "itemknn"])
    parser.add_argument("--viewers", type=int, default=1000, help="to be recommended to")
    parser.add_argument("--seconds", type=float, default=350, help="that a candidate has")
    parser.add_argument("--set", action="append", default=[], help="such as train.ials.factors=32")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measure(asked.child, asked.source.resolve(), asked.set, asked.viewers)))
        return
    asked.source = asked.source.resolve()
    title = f"{asked.source.name}, load {os.getloadavg()[0]:.1f}, reading included"
    table = Table("candidate", "peak, GB", "fit, s", "viewers ranked a second", "fits in 8 GB", title=title)
    for name in asked.candidates:
        table.add_row(*row_of(name, child(name, asked), asked.viewers))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
