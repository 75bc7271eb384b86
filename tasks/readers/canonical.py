"""The data contract applied to a raw frame: every column gets its one type, or a sentence says which cannot.

Row faults (a missing id, a negative or NaN watch time, a time in the future) pass: validation puts those rows in
quarantine. A column that is missing, unknown, or of another kind is a schema fault and stops the run.
"""

from collections.abc import Callable

import polars as pl

from infra.errors import BadInput
from tasks.schema import TIMESTAMP, Events, Videos

IDS = (Events.USER, Events.VIDEO)
ID_TYPES = (pl.Int64(), pl.String())
# One spelling a number, so that "007" stays a string and never becomes the id 7; 18 digits always fit Int64.
WHOLE_NUMBER = r"^(0|-?[1-9]\d{0,17})$"
HAS_ZONE = r"(Z|z|[+-]\d{2}:?\d{2})$"
ISO = "%Y-%m-%dT%H:%M:%S%.f%z"
# 100,000,000,000 s is the year 5138 and as many ms is March 1973: below it an integer time is seconds, else ms.
FIRST_MILLISECOND = 100_000_000_000
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def conform(raw: pl.DataFrame, columns: dict[str, pl.DataType], *, ids: tuple[str, ...], uri: str) -> pl.DataFrame:
    """`raw` in the contract's order and types.

    Args:
        raw: a file's rows, whose `ids` are typed by `as_id` or `as_csv_id` already.
        columns: every other column that may be there, and its type.
        ids: the id columns, which stay as they are.
        uri: names the file in errors.

    Raises:
        BadInput: a column is unknown, or its values are not what the contract says.
    """
    allowed = [*ids, *columns]
    if extra := [name for name in raw.columns if name not in allowed]:
        raise BadInput(
            f"{uri} has the column {', '.join(extra)}, which the contract lacks. It knows {', '.join(allowed)}."
        )
    present = [name for name in columns if name in raw.columns]
    return raw.select(*ids, *(_typed(raw[name], columns[name], uri) for name in present))


def require(raw: pl.DataFrame, columns: tuple[str, ...], *, uri: str) -> None:
    """Raise `BadInput`, naming column and `uri`, unless all `columns` are there."""
    if missing := [name for name in columns if name not in raw.columns]:
        raise BadInput(
            f"{uri} lacks the column {', '.join(missing)}. Received: {', '.join(raw.columns) or 'no columns'}"
        )


def as_id(values: pl.Series, *, uri: str) -> pl.Series:
    """Whole numbers as `Int64`, strings as `String`, nothing at all as `Null`; CSV text is whichever all of it is.

    Raises:
        BadInput: the values are neither.
    """
    if values.null_count() == len(values):
        return values.cast(pl.Null) if values.dtype != pl.Null else values
    if values.dtype.is_integer():
        return _strictly(values, pl.Int64(), uri)
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    raise _fault(values, uri, "ids are integers or strings")


def as_csv_id(values: pl.Series, *, uri: str) -> pl.Series:
    """Ids of a CSV column that was read as text."""
    whole = values.str.contains(WHOLE_NUMBER).all()
    return as_id(values.cast(pl.Int64) if whole and values.null_count() < len(values) else values, uri=uri)


class IdTypes:
    """Remembers which type each id has and where that was seen, to refuse a source that mixes them."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._seen: dict[str, tuple[pl.DataType, str]] = {}

    def see(self, frame: pl.DataFrame, *, uri: str) -> None:
        """Take note of the ids of `frame`.

        Raises:
            BadInput: an id has one type here and another in a file seen earlier; names both files.
        """
        for name in IDS:
            kind = frame.schema.get(name)
            if kind in ID_TYPES and kind is not None:
                known, where = self._seen.setdefault(name, (kind, uri))
                if known != kind:
                    raise BadInput(
                        f"{name} must have one type in all files of a source. Received: {known} in {where} and {kind} "
                        f"in {uri}"
                    )

    def fill(self, frame: pl.DataFrame) -> pl.DataFrame:
        """`frame` with ids of type `Null`, which hold nothing, cast to the type seen elsewhere, or `Int64`."""
        empty = [name for name in IDS if frame.schema.get(name) == pl.Null]
        return frame.with_columns(pl.col(name).cast(self._seen.get(name, (pl.Int64(), ""))[0]) for name in empty)


def _typed(values: pl.Series, kind: pl.DataType, uri: str) -> pl.Series:
    if values.dtype == pl.Null:
        return values.cast(kind)
    return CONVERT[kind](values, uri)


def _strictly(values: pl.Series, kind: pl.DataType, uri: str) -> pl.Series:
    cast = values.cast(kind, strict=False)
    _refuse_lost(values, cast, uri, f"values are {kind}")
    return cast


def _as_float(values: pl.Series, uri: str) -> pl.Series:
    if values.dtype == pl.String or values.dtype.is_numeric():
        return _strictly(values.str.strip_chars() if values.dtype == pl.String else values, pl.Float64(), uri)
    raise _fault(values, uri, "values are numbers")


def _as_boolean(values: pl.Series, uri: str) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values
    if values.dtype != pl.String and not values.dtype.is_integer():
        raise _fault(values, uri, "values are true or false")
    cast = values.cast(pl.String).str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)
    _refuse_lost(values, cast, uri, "values are true, false, 1 or 0")
    return cast


def _as_string(values: pl.Series, uri: str) -> pl.Series:
    if values.dtype in (pl.String, pl.Categorical, pl.Enum) or values.dtype.is_integer():
        return values.cast(pl.String)
    raise _fault(values, uri, "values are strings")


def _as_strings(values: pl.Series, uri: str) -> pl.Series:
    """A list column; text is split at `|`, and empty text is an empty list."""
    if values.dtype == pl.String:
        name = values.name
        empty, split = pl.lit([], pl.List(pl.String)), pl.col(name).str.split("|")
        return (
            values.to_frame().select(pl.when(pl.col(name) == "").then(empty).otherwise(split).alias(name)).to_series()
        )
    if isinstance(values.dtype, pl.List):
        return _strictly(values, pl.List(pl.String()), uri)
    raise _fault(values, uri, "values are lists of strings, or text separated by |")


def _as_time(values: pl.Series, uri: str) -> pl.Series:
    """UTC milliseconds out of integers since 1970, ISO 8601 text with an offset, or zoned Parquet times."""
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone:
        return values.dt.convert_time_zone("UTC").cast(TIMESTAMP)
    if isinstance(values.dtype, pl.Datetime):
        raise _fault(values, uri, "times carry a time zone, as local times cannot be told from UTC")
    if values.dtype.is_integer():
        return _as_epoch(values, uri)
    if values.dtype == pl.String:
        whole = values.str.contains(WHOLE_NUMBER).all()
        return _as_epoch(values, uri) if whole else _as_iso(values, uri)
    raise _fault(values, uri, "times are integers since 1970, or ISO 8601 with Z or an offset")


def _as_epoch(values: pl.Series, uri: str) -> pl.Series:
    whole = _strictly(values, pl.Int64(), uri)
    name = pl.col(whole.name)
    seconds = name.abs() < FIRST_MILLISECOND
    return whole.to_frame().select(pl.when(seconds).then(name * 1000).otherwise(name).cast(TIMESTAMP)).to_series()


def _as_iso(values: pl.Series, uri: str) -> pl.Series:
    naive = values.drop_nulls().filter(~values.drop_nulls().str.contains(HAS_ZONE))
    if len(naive):
        raise BadInput(
            f"{values.name} of {uri}: times carry Z or an offset such as +08:00, as local times cannot be told from "
            f"UTC. Received: {naive[0]!r}"
        )
    spelled = values.str.replace(r"[Zz]$", "+00:00").str.replace(" ", "T", literal=True)
    cast = spelled.str.to_datetime(ISO, time_unit="ms", strict=False).cast(TIMESTAMP).rename(values.name)
    _refuse_lost(values, cast, uri, "times look like 2022-04-10T08:59:09Z")
    return cast


def _refuse_lost(values: pl.Series, cast: pl.Series, uri: str, rule: str) -> None:
    lost = values.filter(cast.is_null() & values.is_not_null())
    if len(lost):
        raise BadInput(f"{values.name} of {uri}: {rule}. Received: {lost[0]!r}")


def _fault(values: pl.Series, uri: str, rule: str) -> BadInput:
    return BadInput(f"{values.name} of {uri}: {rule}. Received: a column of type {values.dtype}")


CONVERT: dict[pl.DataType, Callable[[pl.Series, str], pl.Series]] = {
    pl.Float64(): _as_float,
    pl.Boolean(): _as_boolean,
    pl.String(): _as_string,
    pl.List(pl.String()): _as_strings,
    TIMESTAMP: _as_time,
}

EVENT_COLUMNS: dict[str, pl.DataType] = {Events.TIME: TIMESTAMP, **Events.OPTIONAL}
VIDEO_COLUMNS: dict[str, pl.DataType] = dict(Videos.OPTIONAL)
