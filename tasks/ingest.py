"""Ingest: lay out the landed files that this night knows, each checked by size and digest, as `data/raw`."""

import hashlib
import shutil
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from infra.console import track
from infra.disk import disk_errors
from infra.errors import BadInput
from infra.settings import Settings
from tasks import paths
from tasks.content import write_parquet
from tasks.landing import landing_folder
from tasks.schema import Events
from tasks.stage import read_json, stage


def ingest(landed: Path, landing: Path, out: Path) -> None:
    """Write `out/events/<sha256>.parquet`, and `out/videos.parquet` and `out/users.parquet` where they landed.

    Args:
        landed: the list that `tasks.landing.land` made.
        landing: the landing store that holds its files.
        out: made anew. Files of events have the canonical columns plus `day`, sorted by day; optional columns are
            there when a day of the file has them, so files may differ in them.

    Raises:
        BadInput: a landed file is missing or not what its digest says; or the disk is full.
    """
    parts = read_json(landed)["parts"]
    with disk_errors(out):
        shutil.rmtree(out, ignore_errors=True)
        (out / "events").mkdir(parents=True)
        for part in track(parts, label="Ingesting", total=len(parts)):
            file = _checked(landing / "files" / part["file"], part)
            if part["table"] == "events":
                _lay_out_days(file, part["days"], out / "events")
            else:
                shutil.copyfile(file, out / f"{part['table']}.parquet")


def _checked(file: Path, part: Mapping[str, Any]) -> Path:
    found = "no file"
    if file.exists():
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        if (size := file.stat().st_size) == part["bytes"] and sha256 == part["sha256"]:
            return file
        found = f"{size} bytes with SHA-256 {sha256}"
    raise BadInput(
        f"The landed file {file} must have {part['bytes']} bytes with the SHA-256 in its name. Received: {found}. "
        f"Restore it, or remove {file.parent.parent} so that the source is landed again."
    )


def _lay_out_days(file: Path, days: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """The whole file where the night knows all its days, else the rows of `days`, named by their own digest."""
    rows = pl.scan_parquet(file, glob=False)
    if rows.select(pl.len()).collect().item() == sum(facts["rows"] for facts in days.values()):
        shutil.copyfile(file, folder / file.name)
    else:
        write_parquet(rows.filter(pl.col(Events.DAY).is_in(_dates(days))).collect(), folder)


def _dates(days: Collection[str]) -> list[date]:
    return [date.fromisoformat(day) for day in days]


def main() -> None:
    """The stage's command: which store, says `data/landed.json`."""
    name = read_json(paths.LANDED)["name"]
    ingest(paths.LANDED, landing_folder(Settings(), name), paths.RAW)


if __name__ == "__main__":
    stage(main)
