"""Row faults: what makes a row unfit, and the parting of a table into accepted and quarantined rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from tasks.schema import Events, Users, Videos

REASON = "reason"
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
UNKNOWN_VIDEO = "unknown_video"


@dataclass(frozen=True)
class Rule:
    """One row fault.

    Attributes:
        name: short name, unique within a table.
        sentence: the reason that a faulty row carries.
        fault: boolean expression over the table, true on a faulty row; null counts as no fault.
    """

    name: str
    sentence: str
    fault: pl.Expr


@dataclass(frozen=True)
class Key:
    """What two rows of a table must not share.

    Attributes:
        columns: the key; the first row of each key is the one that is kept.
        order: columns of the key that accepted rows are sorted by.
        ties: columns that break ties; what is tied then keeps the order within its file. A day lies in one file, so
            the order of events depends on nothing but the files' content.
        name, sentence: the fault of the later rows of a key. Only rows without another fault are held against each
            other, so that a faulty row never drives out a sound one.
    """

    columns: tuple[str, ...]
    order: tuple[str, ...]
    ties: tuple[str, ...]
    name: str
    sentence: str


EVENT_KEY = Key(
    columns=(Events.USER, Events.VIDEO, Events.TIME),
    order=(Events.USER, Events.TIME),
    ties=(Events.DAY,),
    name="duplicate",
    sentence="repeats an earlier row of the same user, video and time",
)
VIDEO_KEY = Key((Videos.ID,), (Videos.ID,), (), "duplicate", "repeats an earlier row of the same video_id")
USER_KEY = Key((Users.ID,), (Users.ID,), (), "duplicate", "repeats an earlier row of the same user_id")


@dataclass(frozen=True)
class Separated:
    """A table in two parts that together are all of its rows.

    Attributes:
        accepted: sound rows, sorted by the key's order, ties in file order.
        quarantined: faulty rows in file order, with `reason`: all their faults, joined by `; `.
        counts: rows by fault's sentence; a row with two faults counts under both.
        faults: rows by fault's name, likewise.
    """

    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    counts: dict[str, int]
    faults: dict[str, int]


def day_end(as_of: date) -> datetime:
    """The first instant after the day `as_of`, UTC."""
    return datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC) + timedelta(days=1)


def event_rules(columns: Sequence[str], *, as_of: date, known_videos: pl.Series | None) -> list[Rule]:
    """Faults of an event. `known_videos`: ids of the accepted catalogue, or None where the source has none."""
    time = pl.col(Events.TIME)
    rules = [
        *(_missing(column) for column in (*Events.REQUIRED, Events.DAY)),
        Rule("future", f"{Events.TIME} is after {as_of}, the day of this snapshot", time >= day_end(as_of)),
        Rule("too_old", f"{Events.TIME} is before {EARLIEST:%Y}", time < EARLIEST),
        _measure(Events.WATCH_SECONDS),
        Rule("rating", f"{Events.RATING} is NaN or infinite", ~pl.col(Events.RATING).is_finite()),
    ]
    if known_videos is not None:
        unknown = ~pl.col(Events.VIDEO).is_in(known_videos.implode())
        rules.append(Rule(UNKNOWN_VIDEO, f"{Events.VIDEO} is not among the accepted videos", unknown))
    return _applicable(rules, columns)


def video_rules(columns: Sequence[str]) -> list[Rule]:
    """Faults of a video."""
    return _applicable([_missing(Videos.ID), _measure(Videos.DURATION_SECONDS)], columns)


def user_rules(columns: Sequence[str]) -> list[Rule]:
    """Faults of a user."""
    return _applicable([_missing(Users.ID)], columns)


def separate(table: pl.DataFrame, rules: Sequence[Rule], key: Key) -> Separated:
    """Part `table` into accepted and quarantined rows.

    Raises:
        RuntimeError: a row was lost or made, which is a defect of this program.
    """
    faults = table.select(rule.fault.fill_null(False).alias(rule.name) for rule in rules)
    faulty = faults.select(pl.any_horizontal(pl.all()).alias("faulty")).to_series()
    numbered = table.with_row_index(_ROW)
    sound = _sorted(numbered.filter(~faulty), key.order + key.ties)
    repeated = _repeats(sound, key)
    accepted = sound.filter(~repeated).drop(_ROW)
    quarantined = pl.concat(
        [
            numbered.filter(faulty).with_columns(_reasons(faults.filter(faulty), rules)),
            sound.filter(repeated).with_columns(pl.lit(key.sentence).alias(REASON)),
        ]
    )
    quarantined = quarantined.sort(_ROW).drop(_ROW)
    if accepted.height + quarantined.height != table.height:
        raise RuntimeError(f"{table.height} rows became {accepted.height} accepted and {quarantined.height} faulty.")
    by_name = {rule.name: int(faults[rule.name].sum()) for rule in rules} | {key.name: int(repeated.sum())}
    sentences = {rule.name: rule.sentence for rule in rules} | {key.name: key.sentence}
    counts = {sentences[name]: count for name, count in by_name.items() if count}
    return Separated(accepted, quarantined, counts, by_name)


def neighbours(table: pl.DataFrame, key: Key) -> pl.DataFrame:
    """The rows of sorted `table` that share the columns of `key.order` with the row before or after.

    Rows that repeat each other are among them, and comparing these alone is several times faster than all rows.
    """
    return table.filter(_tied(table, key))


_ROW = "__row__"


def _missing(column: str) -> Rule:
    return Rule(f"no_{column}", f"{column} is missing", pl.col(column).is_null())


def _measure(column: str) -> Rule:
    value = pl.col(column)
    return Rule(column, f"{column} is negative, NaN or infinite", ~(value.is_finite() & (value >= 0)))


def _applicable(rules: Sequence[Rule], columns: Sequence[str]) -> list[Rule]:
    return [rule for rule in rules if set(rule.fault.meta.root_names()) <= set(columns)]


def _reasons(faults: pl.DataFrame, rules: Sequence[Rule]) -> pl.Series:
    said = (pl.when(rule.name).then(pl.lit(rule.sentence)) for rule in rules)
    return faults.select(pl.concat_str(said, separator="; ", ignore_nulls=True).alias(REASON)).to_series()


def _sorted(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    # One stable sort a column, the least significant first, takes a third of the time of one sort by all of them.
    for column in reversed(columns):
        if not table[column].is_sorted():
            table = table.sort(column, maintain_order=True)
    return table


def _repeats(table: pl.DataFrame, key: Key) -> pl.Series:
    at = _tied(table, key).arg_true()
    first = table.select(key.columns)[at].select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return pl.repeat(False, table.height, eager=True).scatter(at.filter(~first), True)


def _tied(table: pl.DataFrame, key: Key) -> pl.Series:
    same = pl.all_horizontal(pl.col(column) == pl.col(column).shift(1) for column in key.order).fill_null(False)
    return table.select(same | same.shift(-1, fill_value=False)).to_series()
