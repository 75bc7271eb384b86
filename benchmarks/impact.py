"""Which of 100 snapshots of a million viewers hold one viewer: the index against looking through the events.

python benchmarks/impact.py                  a folder, ids that are integers and ids that are strings
python benchmarks/impact.py --snapshots 10   fewer

Each snapshot holds its own million of two million viewers, one event each in no order: the least that a snapshot of so
many viewers can hold, which favours the peers. All files were just written, so they come from memory.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
from rich.console import Console
from rich.progress import track
from rich.table import Table

from infra.stores import FolderStore
from lineage.snapshots import holding, put_index, write_index

VIEWERS, POPULATION, ROUNDS = 1_000_000, 2_000_000, 5
NAME = "movies"


def main() -> None:
    """Print one table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--snapshots", type=int, default=100)
    snapshots = options.parse_args().snapshots
    table = Table("ids", "viewer", "held by", "index", "polars", "ratio", "pyarrow", "ratio", "MB")
    table.title = f"{snapshots} snapshots of {VIEWERS:,} viewers, seconds (best of {ROUNDS}); MB of index"
    for kind in ("integers", "strings"):
        with tempfile.TemporaryDirectory() as folder:
            _rows(table, kind, Path(folder), snapshots)
    Console().print(table)


def _rows(table: Table, kind: str, folder: Path, snapshots: int) -> None:
    store = FolderStore(folder / "store")
    names = [f"{at:064x}" for at in range(snapshots)]
    for at, name in enumerate(track(names, description=f"snapshots, {kind}")):
        _write(store, folder, name, kind, seed=at)
    megabytes = sum(file.stat().st_size for file in (folder / "store").rglob("users.parquet")) / 1e6
    for what, viewer in (("known", VIEWERS), ("unknown", VIEWERS + 1)):
        wanted = _id(viewer, kind)
        ways = {
            "index": lambda wanted=wanted: holding(store, NAME, names, user=str(wanted)),
            "polars": lambda wanted=wanted: {one for one in names if _in_polars(folder / f"{one}.parquet", wanted)},
            "pyarrow": lambda wanted=wanted: {one for one in names if _in_pyarrow(folder / f"{one}.parquet", wanted)},
        }
        taken, held = _in_turns(ways)
        cells = [f"{taken['index']:.3f}"]
        for peer in ("polars", "pyarrow"):
            cells += [f"{taken[peer]:.2f}", f"{taken[peer] / taken['index']:.0f}"]
        table.add_row(kind, what, str(held), *cells, f"{megabytes:.0f}")


def _write(store: FolderStore, folder: Path, name: str, kind: str, *, seed: int) -> None:
    """One snapshot: its events, and its index in the store."""
    drawn = 2 * np.random.default_rng(seed).choice(POPULATION, VIEWERS, replace=False)  # no viewer has an odd id
    ids = pl.Series("user_id", drawn)
    if kind == "strings":
        ids = pl.select(pl.format("viewer-{}", ids.cast(pl.String).str.zfill(9)).alias("user_id")).to_series()
    ids.to_frame().write_parquet(folder / f"{name}.parquet")
    write_index(ids, ids.head(1), folder / "index")
    put_index(store, NAME, name, folder / "index")


def _id(viewer: int, kind: str) -> int | str:
    return viewer if kind == "integers" else f"viewer-{viewer:09}"


def _in_polars(events: Path, wanted: int | str) -> bool:
    found = pl.scan_parquet(events).filter(pl.col("user_id") == wanted).head(1).collect()
    return found.height > 0


def _in_pyarrow(events: Path, wanted: int | str) -> bool:
    return bool(ds.dataset(events).count_rows(filter=pc.field("user_id") == wanted))


def _in_turns(ways: dict[str, Callable[[], set[str]]]) -> tuple[dict[str, float], int]:
    """The least seconds of each, in turns, so that a busy machine slows all alike; and what they agree on."""
    taken = {name: float("inf") for name in ways}
    answers: dict[str, set[str]] = {}
    for _ in range(ROUNDS):
        for name, ask in ways.items():
            started = time.perf_counter()
            answers[name] = ask()
            taken[name] = min(taken[name], time.perf_counter() - started)
    assert answers["index"] == answers["polars"] == answers["pyarrow"]
    return taken, len(answers["index"])


if __name__ == "__main__":
    main()
