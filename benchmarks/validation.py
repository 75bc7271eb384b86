"""Validation against the same suites called directly on the same raw frame: `python benchmarks/validation.py`.

Both start from the raw rows in memory, as a polars and as a pandas frame, with 1 % faults in them. Ours parts them into
accepted and quarantined rows and holds the suites against what it accepted; the direct call holds the suites, with
Great Expectations' default result format, against the raw rows, and names no faulty row.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
from great_expectations import ExpectationSuite
from rich.console import Console
from rich.table import Table

from tasks.datadocs import hold, hold_rows, quiet_context
from tasks.quarantine import EVENT_KEY, event_rules, separate
from tasks.schema import TIMESTAMP, Events
from tasks.suites import events_suite, repeats_suite

AS_OF = date(2024, 6, 30)
ROUNDS = 7


def raw_events(rows: int) -> pl.DataFrame:
    """Generated events of 30 days, in order of time: 1 % of the rows have one of five faults."""
    rng = np.random.default_rng(7)
    end = int(datetime(2024, 7, 1, tzinfo=UTC).timestamp() * 1000)
    times = np.sort(rng.integers(end - 30 * 86_400_000, end, rows))
    watch = rng.exponential(20, rows)
    fault = np.where(rng.random(rows) < 0.01, rng.integers(0, 5, rows), -1)
    times[fault == 0] = end + 1
    watch[fault == 1] = -1.0
    watch[fault == 2] = np.inf
    columns = {
        Events.USER: pl.Series(rng.integers(0, rows // 40 + 1, rows)),
        Events.VIDEO: pl.Series(rng.integers(0, rows // 100 + 1, rows)),
        Events.TIME: pl.Series(times).cast(TIMESTAMP),
        Events.WATCH_SECONDS: pl.Series(watch),
    }
    flags = (Events.LIKED, Events.DISLIKED, Events.FOLLOWED, Events.COMMENTED, Events.SHARED)
    columns |= {flag: pl.Series(rng.random(rows) < 0.1) for flag in flags}
    table = pl.DataFrame(columns).with_columns(pl.col(Events.TIME).dt.date().alias(Events.DAY))
    missing = pl.when(pl.lit(fault) != 3).then(pl.col(Events.USER)).alias(Events.USER)
    # A row with fault 4 is a copy of the row before it.
    return table.with_columns(missing)[np.arange(rows) - ((fault == 4) & (np.arange(rows) > 0))]


def ours(raw: pl.DataFrame, docs: Path) -> Callable[[], None]:
    """Quarantine and suites."""

    def run() -> None:
        table = separate(raw, event_rules(raw.columns, as_of=AS_OF, known_videos=None), EVENT_KEY)
        outcomes = hold_rows(quiet_context(docs), "events", table.accepted, as_of=AS_OF)
        assert all(outcome.passed for outcome in outcomes)
        assert 0 < table.quarantined.height < raw.height // 50

    return run


def direct(events: pl.DataFrame, docs: Path) -> Callable[[], None]:
    """The same expectations, straight on the raw frame."""
    raw = events.to_pandas()

    def run() -> None:
        context = quiet_context(docs)
        both = [*events_suite(raw.columns, as_of=AS_OF).expectations, *repeats_suite().expectations]
        outcomes = hold(context, ExpectationSuite(name="events", expectations=both), raw, as_of=AS_OF, detail="SUMMARY")
        assert not all(outcome.passed for outcome in outcomes)

    return run


CONTENDERS = {"Nightreel: quarantine + suites": ours, "Great Expectations, direct": direct}


def seconds(raw: pl.DataFrame) -> dict[str, float]:
    """The least seconds of each over `ROUNDS` rounds, in turns, so that a busy machine slows both alike."""
    with tempfile.TemporaryDirectory() as docs:
        runs = {name: make(raw, Path(docs)) for name, make in CONTENDERS.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    return {name: min(taken) for name, taken in times.items()}


def peak_megabytes(name: str, file: Path) -> float:
    """Peak memory of a process of its own that reads the raw rows from `file` and runs `name` once."""
    command = [sys.executable, __file__, "--peak-of", name, "--file", str(file)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report(rows: int) -> None:
    """Print one table."""
    raw = raw_events(rows)
    found = seconds(raw)
    table = Table("", "seconds", "rows/s", "ratio", "peak MB", title=f"{rows:,} raw events, 1 % faulty")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "raw.parquet"
        raw.write_parquet(file)
        for name, taken in found.items():
            ratio = taken / found["Great Expectations, direct"]
            memory = peak_megabytes(name, file)
            table.add_row(name, f"{taken:.3f}", f"{rows / taken:,.0f}", f"{ratio:.2f}", f"{memory:,.0f}")
    Console().print(table)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peak-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of is None:
        report(options.rows)
        return
    with tempfile.TemporaryDirectory() as docs:
        CONTENDERS[options.peak_of](pl.read_parquet(options.file), Path(docs))()
    # Not getrusage: its peak of a child starts at that of the parent that forked it.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)


if __name__ == "__main__":
    main()
