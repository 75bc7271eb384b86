"""Read the raw tables and hold their columns and types against the contract."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import polars as pl

from tasks.schema import TIMESTAMP, Events, Users, Videos

IDS = (pl.Int64, pl.String)


def read_raw(raw: Path) -> tuple[dict[str, pl.DataFrame], list[str]]:
    """The tables under `raw`, and why the files of events do not make one table.

    Returns:
        The tables by name; `events` is there even without a file. In sentences, columns whose type differs by file.
    """
    frames = [pl.read_parquet(file) for file in sorted((raw / "events").glob("*.parquet"))]
    frames.sort(key=_first_day)
    faults = _mixed([frame.schema for frame in frames])
    tables = {} if faults else {"events": pl.concat(frames, how="diagonal") if frames else _no_events()}
    for name in ("videos", "users"):
        if (raw / f"{name}.parquet").exists():
            tables[name] = pl.read_parquet(raw / f"{name}.parquet")
    return tables, faults


def schema_faults(tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """In sentences: columns that are missing, unknown or of the wrong type, and ids whose type differs by table."""
    events = tables["events"].schema
    times: dict[str, pl.DataType] = {Events.TIME: TIMESTAMP, Events.DAY: pl.Date()}
    faults = _faults("events", events, ids=(Events.USER, Events.VIDEO), typed=times, optional=Events.OPTIONAL)
    if "videos" in tables:
        faults += _faults("videos", tables["videos"].schema, ids=(Videos.ID,), typed={}, optional=Videos.OPTIONAL)
    if "users" in tables and Users.ID not in tables["users"].columns:
        faults.append(f"users lacks the column {Users.ID}")
    for table, column in (("videos", Videos.ID), ("users", Users.ID)):
        if table in tables and not faults and tables[table].schema[column] != events[column]:
            here = tables[table].schema[column]
            faults.append(f"{column} is {here} in {table} and {events[column]} in events")
    return faults


def _faults(
    table: str,
    schema: pl.Schema,
    *,
    ids: tuple[str, ...],
    typed: Mapping[str, pl.DataType],
    optional: Mapping[str, pl.DataType],
) -> list[str]:
    known = {**typed, **optional}
    return [
        *(f"{table} lacks the column {column}" for column in (*ids, *typed) if column not in schema),
        *(f"{table} has an unknown column {column}" for column in schema if column not in known and column not in ids),
        *(
            f"{table} has ids of type {schema[column]} in {column}, and ids are integers or strings"
            for column in ids
            if column in schema and schema[column] not in IDS
        ),
        *(
            f"{table} has {schema[column]} in {column}, which must be {wanted}"
            for column, wanted in known.items()
            if column in schema and schema[column] != wanted
        ),
    ]


def _mixed(schemas: list[pl.Schema]) -> list[str]:
    types: dict[str, set[str]] = {}
    for schema in schemas:
        for column, kind in schema.items():
            types.setdefault(column, set()).add(str(kind))
    return [
        f"events has {' and '.join(sorted(kinds))} in {column}, depending on the file"
        for column, kinds in types.items()
        if len(kinds) > 1
    ]


def _first_day(frame: pl.DataFrame) -> date:
    first = frame[Events.DAY].min() if Events.DAY in frame.columns else None
    return first if isinstance(first, date) else date.max


def _no_events() -> pl.DataFrame:
    schema = {Events.USER: pl.Int64(), Events.VIDEO: pl.Int64(), Events.TIME: TIMESTAMP, Events.DAY: pl.Date()}
    return pl.DataFrame(schema=schema)
