"""Erased viewers in the landing store: their rows are not taken in again, and what landed is rewritten without them.

Rewriting is one more arrival: a day that held such a viewer gets its next version, as a corrected day does, and the
other days of its file move along unchanged, so that no night needs the old file any more. That one stays until
`remove_leftovers` takes it away.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from infra.disk import disk_errors
from infra.locks import locked
from lineage.erasure import Erased
from tasks.arrivals import Arrival, Arrivals, Day, Known, Part
from tasks.content import day_digests, rows_digest, write_parquet
from tasks.offer import Offer
from tasks.readers.base import BROKEN
from tasks.schema import Events, Users

log = logging.getLogger(__name__)


def offer_without(offer: Offer, erased: Erased) -> Offer:
    """`offer` without the rows of erased viewers."""
    tables = offer.tables
    events = replace(tables.events, frame=without(tables.events.frame, erased))
    users = tables.users and replace(tables.users, frame=without(tables.users.frame, erased))
    return replace(offer, tables=replace(tables, events=events, users=users))


def without(rows: pl.DataFrame, erased: Erased) -> pl.DataFrame:
    """`rows` of events or users without those of erased viewers; rows without an id stay, for validation to judge."""
    return _dropped(rows, erased.among(_texts(rows.lazy()))) if erased.newest else rows


def rewrite_landed(arrivals: Arrivals, source: str, erased: Erased) -> None:
    """Rewrite what nights still read of landed files that hold an erased viewer; the caller holds the store's lock.

    Args:
        arrivals: the store's record.
        source: the label of the source that lands there.
        erased: whose rows go. Erasures that were dealt with before cost nothing.
    """
    known, folder = arrivals.known(source), arrivals.folder / "files"
    if known.erasures >= erased.newest:
        return
    users = {file: _users_in(file) for file in sorted(folder.glob("*.parquet"))}
    gone = erased.among(_texts(pl.concat(users.values()))) if users else []
    replaced = {file.name for file, its in users.items() if gone and _holds_any(its, gone)}
    parts = (*_days_of(replaced, known, folder, gone), *_users_of(replaced, known, folder, gone))
    arrival = Arrival(
        source=source,
        landed_at=datetime.now(UTC),
        parts=parts,
        erasures=erased.newest,
        replaced=tuple(sorted(replaced)),
    )
    arrivals.put(known.arrivals + 1, arrival)
    log.info("%d landed files hold viewers of erasures up to %d and are replaced", len(replaced), erased.newest)


def _days_of(replaced: Collection[str], known: Known, folder: Path, gone: Sequence[str]) -> list[Part]:
    """New files with the current days of those that are replaced."""
    current: dict[str, tuple[Part, dict[date, Day]]] = {}
    for day, (part, facts) in known.days.items():
        if part.file in replaced:
            current.setdefault(part.file, (part, {}))[1][day] = facts
    return [_moved(part, days, folder, gone) for part, days in current.values()]


def _moved(part: Part, days: dict[date, Day], folder: Path, gone: Sequence[str]) -> Part:
    """A new file with `days` of `part`, without the viewers `gone`."""
    rows = pl.read_parquet(folder / part.file, glob=False).filter(pl.col(Events.DAY).is_in(list(days)))
    rows = _dropped(rows, gone)
    told = {
        day: Day(rows=count, digest=digest, version=days[day].version + (digest != days[day].digest))
        for day, (count, digest) in day_digests(rows, frozenset(days)).items()
    }
    origins = tuple(origin for origin in part.origins if origin.day is None or origin.day in days)
    return _of_file(part, write_parquet(rows, folder)).model_copy(update={"days": told, "origins": origins})


def _users_of(replaced: Collection[str], known: Known, folder: Path, gone: Sequence[str]) -> list[Part]:
    """All states of the users' catalogue, in their order, when one of them is replaced: the newest stays the newest."""
    states = [part for part in known.catalogues if part.table == "users" and (folder / part.file).exists()]
    if not any(part.file in replaced for part in states):
        return []
    return [_shorter(part, folder, gone) if part.file in replaced else part for part in states]


def _shorter(part: Part, folder: Path, gone: Sequence[str]) -> Part:
    rows = _dropped(pl.read_parquet(folder / part.file, glob=False), gone)
    return _of_file(part, write_parquet(rows, folder)).model_copy(update={"digest": rows_digest(rows)})


def _of_file(part: Part, path: Path) -> Part:
    return part.model_copy(update={"file": path.name, "sha256": path.stem, "bytes": path.stat().st_size})


def _users_in(file: Path) -> pl.LazyFrame:
    """The ids of viewers in a landed file as text; none in a catalogue of videos."""
    rows = pl.scan_parquet(file, glob=False)
    known = Users.ID in rows.collect_schema()
    return rows.select((pl.col(Users.ID) if known else pl.lit(None).alias(Users.ID)).cast(pl.String))


def _texts(users: pl.LazyFrame) -> pl.Series:
    """Distinct ids as text."""
    return users.select(pl.col(Users.ID).unique().drop_nulls().cast(pl.String)).collect().to_series()


def _holds_any(users: pl.LazyFrame, gone: Sequence[str]) -> bool:
    return bool(users.select(pl.col(Users.ID).is_in(gone).any()).collect().item())


def _dropped(rows: pl.DataFrame, gone: Sequence[str]) -> pl.DataFrame:
    ids = pl.Series(gone, dtype=pl.String).cast(rows[Users.ID].dtype, strict=False)
    return rows.filter(~pl.col(Users.ID).is_in(ids.implode()).fill_null(False)) if len(gone) else rows


def replaced_files(folder: Path) -> set[str]:
    """Names of the files in the landing store `folder` that erasures have replaced, there still or removed."""
    return {file for arrival in Arrivals(folder).all() for file in arrival.replaced}


def leftovers(folder: Path) -> list[Path]:
    """Files in the landing store `folder` that may hold erased viewers: replaced ones, copies of killed landings."""
    replaced = [folder / "files" / file for file in sorted(replaced_files(folder))]
    return [*(file for file in replaced if file.exists()), *sorted(folder.glob("incoming/*"))]


def remove_leftovers(folder: Path) -> None:
    """Remove what `leftovers` names, once no landing is at work."""
    with locked(folder / "lock"), disk_errors(folder):
        for file in leftovers(folder):
            file.unlink()


def origins_of(arrivals: Sequence[Arrival], erasure: int) -> list[str]:
    """Where the rows that `erasure` took out of landed files had come from, sorted: the source holds them still."""
    versions: dict[date, int] = {}
    files: set[str] = set()
    for arrival in arrivals:
        if arrival.erasures >= erasure:
            changed = [part for part in arrival.parts if part.file not in files]
            return sorted({uri for part in changed for uri in _changed_origins(part, versions)})
        files |= {part.file for part in arrival.parts}
        versions |= {day: facts.version for part in arrival.parts for day, facts in part.days.items()}
    return []


def _changed_origins(part: Part, versions: dict[date, int]) -> list[str]:
    changed = {day for day, facts in part.days.items() if facts.version > versions.get(day, 0)}
    return [origin.uri for origin in part.origins if origin.day is None or origin.day in changed]


def holds(file: Path, user: str) -> bool:
    """Whether the Parquet file has the viewer's id in `user_id`, or in `id`, as indexes call it; no other file has."""
    try:
        rows = pl.scan_parquet(file, glob=False)
        columns = [name for name in (Users.ID, "id") if name in rows.collect_schema()]
        found = rows.select((pl.col(name).cast(pl.String) == user).any() for name in columns)
        return bool(columns) and any(found.collect().row(0))
    except BROKEN:
        return False
