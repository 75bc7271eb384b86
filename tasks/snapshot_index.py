"""The index of tonight's snapshot: every viewer and every video that it holds a row of, fit for training or not."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from lineage.snapshots import write_index
from tasks.schema import Users, Videos


def index_snapshot(accepted: Path, quarantine: Path, out: Path) -> None:
    """Write `users.parquet` and `videos.parquet`, the sorted distinct ids of all tables, into `out`.

    Args:
        accepted: the accepted tables (events, videos, and users where the source has them).
        quarantine: the rows that were left out of them: a viewer whose every row is faulty is held all the same.
        out: made where it is not there.
    """
    tables = sorted([*accepted.glob("*.parquet"), *quarantine.glob("*.parquet")])
    write_index(_ids(tables, Users.ID), _ids(tables, Videos.ID), out)


def _ids(tables: Iterable[Path], column: str) -> pl.Series:
    scans = [pl.scan_parquet(table) for table in tables]
    held = [scan.select(column) for scan in scans if column in scan.collect_schema()]
    return pl.concat(held).unique().collect(engine="streaming").to_series()
