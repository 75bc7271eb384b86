"""Validate: accepted rows, quarantined rows with a reason each, Data Docs; a data set fault stops the run."""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from infra.errors import Refused
from tasks import paths
from tasks.params import Validate, load_params
from tasks.quarantine import (
    EVENT_KEY,
    USER_KEY,
    VIDEO_KEY,
    Separated,
    event_rules,
    separate,
    user_rules,
    video_rules,
)
from tasks.raw import read_raw, schema_faults
from tasks.schema import Events, Videos
from tasks.snapshot import Check, event_checks, table_checks
from tasks.stage import new_folder, read_json, stage, write_json

log = logging.getLogger(__name__)


def validate(
    raw: Path, landed: Path, accepted: Path, quarantine: Path, docs: Path, metrics: Path, *, params: Validate
) -> None:
    """Part raw rows into `accepted` and `quarantine`, hold the suites against them, write `docs` and `metrics`.

    `accepted` is written only when everything passed; the other three always are.

    Args:
        raw: the tables of `tasks.ingest`.
        landed: `landed.json`, for the night's date.
        accepted: gets `events.parquet` (sorted by user and time, ties in file order), `videos.parquet` (made from the
            events where the source has none) and, where the source has them, `users.parquet`.
        quarantine: gets a table each of rows with a `reason`.
        docs: gets `index.html`.
        metrics: gets every check with its figure and bound.
        params: thresholds.

    Raises:
        Refused: the data set as a whole is not fit; names the check, the figure and the bound.
    """
    for folder in (accepted, quarantine, docs):
        new_folder(folder)
    as_of = date.fromisoformat(read_json(landed)["as_of"])
    frames, faults = read_raw(raw)
    faults = faults or schema_faults(frames)
    checks = [Check("schema", len(faults), None, 0, "; ".join(faults) or "columns and types keep the contract")]
    tables: dict[str, Separated] = {}
    if not faults:
        checks.append(Check("raw_events", frames["events"].height, 1, None, f"events that landed up to {as_of}"))
        tables = separate_tables(frames, as_of=as_of)
        checks += table_checks(tables, params)
        if tables["events"].accepted.height:
            checks += event_checks(tables["events"].accepted, as_of=as_of, params=params)
    for name, table in tables.items():
        table.quarantined.write_parquet(quarantine / f"{name}.parquet")
    report = _judge(tables, checks, docs, as_of=as_of)
    write_json(metrics, report)
    _refuse(report["checks"], docs)
    _write_accepted(tables, accepted)
    events = tables["events"]
    log.info(
        "%d events accepted, %d in quarantine. See %s",
        events.accepted.height,
        events.quarantined.height,
        docs.resolve() / "index.html",
    )


def separate_tables(frames: Mapping[str, pl.DataFrame], *, as_of: date) -> dict[str, Separated]:
    """Part each table of `frames` (`events`; `videos` and `users` where there are any) into sound and faulty rows."""
    tables: dict[str, Separated] = {}
    known = None
    if "videos" in frames:
        tables["videos"] = separate(frames["videos"], video_rules(frames["videos"].columns), VIDEO_KEY)
        known = tables["videos"].accepted[Videos.ID]
    if "users" in frames:
        tables["users"] = separate(frames["users"], user_rules(frames["users"].columns), USER_KEY)
    rules = event_rules(frames["events"].columns, as_of=as_of, known_videos=known)
    tables["events"] = separate(frames["events"], rules, EVENT_KEY)
    return tables


def _judge(tables: Mapping[str, Separated], checks: Sequence[Check], docs: Path, *, as_of: date) -> dict[str, Any]:
    # Imported here: Great Expectations takes seconds, and readers of this module's functions may not need it.
    from tasks.datadocs import hold_snapshot

    found = hold_snapshot({name: table.accepted for name, table in tables.items()}, checks, docs, as_of=as_of)
    rows = {
        name: {
            "raw": table.accepted.height + table.quarantined.height,
            "accepted": table.accepted.height,
            "quarantined": table.quarantined.height,
        }
        for name, table in tables.items()
    }
    reasons = {f"{name}: {why}": n for name, table in tables.items() for why, n in table.counts.items()}
    return {
        "as_of": str(as_of),
        "passed": all(check["passed"] for check in found),
        "checks": found,
        "rows": rows,
        "quarantined": reasons,
        "snapshot_rows": rows["events"]["accepted"] if rows else 0,
    }


def _refuse(checks: Sequence[Mapping[str, Any]], docs: Path) -> None:
    broken = [check for check in checks if not check["passed"]]
    if not broken:
        return
    first, others = broken[0], len(broken) - 1
    also = f" ({others} more failed)" if others else ""
    raise Refused(
        f"The data is not fit to train on: {first['name']} must be {first['bound']} ({first['reason']}). "
        f"Received: {first['observed']:.6g}{also}. See {docs.resolve() / 'index.html'}"
    )


def _write_accepted(tables: Mapping[str, Separated], accepted: Path) -> None:
    events = tables["events"].accepted
    for name, table in tables.items():
        table.accepted.write_parquet(accepted / f"{name}.parquet")
    if "videos" not in tables:
        events.select(pl.col(Events.VIDEO).unique().sort()).write_parquet(accepted / "videos.parquet")


def main() -> None:
    """The stage's command."""
    validate(
        paths.RAW,
        paths.LANDED,
        paths.ACCEPTED,
        paths.QUARANTINE,
        paths.DOCS,
        paths.VALIDATION_METRICS,
        params=load_params(Path("params.yaml")).validation,
    )


if __name__ == "__main__":
    stage(main)
