"""What the source has tonight that the landing store lacks: listed, copied here, read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from infra.settings import Settings
from tasks.arrivals import Known, Part
from tasks.fetch import bring, hash_local
from tasks.readers.base import Reader, SourceFile, Tables

Group = tuple[str, date | None]


@dataclass(frozen=True)
class Offer:
    """Rows that were read, and by table the catalogues that were found landed as they are."""

    tables: Tables
    unchanged: dict[str, Part]


def take_offer(reader: Reader, known: Known, *, into: Path, through: date | None, settings: Settings) -> Offer:
    """List the source and read what has not landed yet, as of the day `through` (None: all of it).

    Of a partitioned source, days and catalogues that landed from the same files are neither copied nor read, and one
    whose files cannot all be had is left out whole.

    Raises:
        BadInput: the source is missing, forbidden, or breaks the contract.
        Unreachable: S3 does not answer; copies so far stay in `into`.
    """
    listing = reader.files()
    in_time = [file for file in listing.files if file.day is None or through is None or file.day <= through]
    files, broken = hash_local(in_time)
    held = _held(files, known) if reader.partitioned else {}
    copies, lost = bring([file for file in files if _group(file) not in held], into=into, settings=settings)
    faults = (*broken, *lost)
    if reader.partitioned:
        torn = {_group(file) for file in in_time if file.uri in {fault.uri for fault in faults}}
        copies = tuple(copy for copy in copies if _group(copy.source) not in torn)
    tables = reader.read(copies, through=through)
    tables = replace(tables, left_out=(*listing.left_out, *faults, *tables.left_out))
    return Offer(tables, {part.table: part for part in held.values() if part.table != "events"})


def _group(file: SourceFile) -> Group:
    """What lands whole or not at all: a day, or a catalogue."""
    return file.table, file.day


def _held(files: Sequence[SourceFile], known: Known) -> dict[Group, Part]:
    groups: dict[Group, list[SourceFile]] = {}
    for file in files:
        groups.setdefault(_group(file), []).append(file)
    found = {group: known.holds(members) for group, members in groups.items()}
    return {group: part for group, part in found.items() if part}
