"""The landing store's append-only record: which days and catalogues arrived, from which files, in which version.

landing/<name>/files/<sha256>.parquet    one file a landing and table, rows sorted by day, then as they came
landing/<name>/arrivals/00000001.json    what one landing added, put-if-absent
landing/<name>/incoming/                 copies from S3 that are not landed yet
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.errors import BadInput
from infra.stores import FolderStore
from tasks.readers.base import SourceFile


class Record(BaseModel):
    """A part of an arrival: frozen, refusing unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(Record):
    """A source file that rows came from; `day` is its partition where the source has partitions."""

    uri: str
    bytes: int
    sha256: str
    etag: str | None
    day: date | None = None


class Day(Record):
    """One day's rows: `digest` as `tasks.content.rows_digest` gives, `version` counts its contents from 1."""

    rows: int
    digest: str
    version: int


class Part(Record):
    """A landed file: days of events, or one state of a catalogue, whose rows have `digest`."""

    table: str
    file: str
    sha256: str
    bytes: int
    origins: tuple[Origin, ...]
    days: dict[date, Day] = {}
    digest: str | None = None


class Arrival(Record):
    """What one landing added.

    Attributes:
        erasures: the number of the newest erasure (see `lineage.erasure`) that this arrival rewrote landed files for;
            0 for what came from the source.
        replaced: landed files that held a viewer of these erasures; no night reads them any more.
    """

    source: str
    landed_at: datetime
    parts: tuple[Part, ...]
    erasures: int = 0
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What has landed so far.

    Attributes:
        arrivals: how many landings added something.
        days: each day's newest version and the part that holds it.
        catalogues: all states of `videos` and `users`, oldest first.
        erasures: the newest erasure that all landed files have been looked through for.
        rewritten: by file, the newest erasure that it was rewritten for; files as they came are left out.
    """

    arrivals: int
    days: dict[date, tuple[Part, Day]]
    catalogues: tuple[Part, ...]
    erasures: int
    rewritten: dict[str, int]

    def holds(self, group: Sequence[SourceFile]) -> Part | None:
        """The part that was made of exactly these files, all of one table and day; None when there is none."""
        table, day = group[0].table, group[0].day
        parts = [self.days[day][0]] if day in self.days else []
        parts += [part for part in reversed(self.catalogues) if part.table == table]
        return next((part for part in parts if _same(group, [o for o in part.origins if o.day == day])), None)

    def catalogue(self, table: str, digest: str | None = None) -> Part | None:
        """The newest state of a catalogue, or the one whose rows have `digest`."""
        states = [part for part in self.catalogues if part.table == table and digest in (None, part.digest)]
        return states[-1] if states else None


class Arrivals:
    """The record in `folder`, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self.folder = folder
        self._store = FolderStore(folder)

    def all(self) -> list[Arrival]:
        """Each landing that added something, oldest first."""
        return [Arrival.model_validate_json(self._store.get(key)) for key in self._store.keys("arrivals/")]

    def known(self, source: str) -> Known:
        """Everything that has landed.

        Raises:
            BadInput: it came from another kind of source than `source`.
        """
        arrivals = self.all()
        if other := {arrival.source for arrival in arrivals} - {source}:
            raise BadInput(
                f"{self.folder} holds {other.pop()}, and two sources do not mix under one name. Received: {source}. "
                "Give it its own with --set name=..., or remove that folder."
            )
        parts = [part for arrival in arrivals for part in arrival.parts]
        days = {day: (part, facts) for part in parts for day, facts in part.days.items()}
        return Known(
            len(arrivals),
            days,
            tuple(part for part in parts if part.table != "events"),
            max((arrival.erasures for arrival in arrivals), default=0),
            {part.file: arrival.erasures for arrival in arrivals if arrival.erasures for part in arrival.parts},
        )

    def put(self, number: int, arrival: Arrival) -> bool:
        """Add `arrival` as `number`, from 1; False when another landing was faster."""
        return self._store.put_if_absent(f"arrivals/{number:08d}.json", arrival.model_dump_json(indent=1).encode())


def _same(files: Iterable[SourceFile], origins: Iterable[Origin]) -> bool:
    """Equal by content, or, where an object store marks versions, by name, size and mark."""
    files, origins = list(files), list(origins)
    by_content = Counter(file.sha256 for file in files) == Counter(origin.sha256 for origin in origins)
    marked = all(file.etag for file in files)
    named = {(file.uri, file.bytes, file.etag) for file in files}
    return by_content or (marked and named == {(origin.uri, origin.bytes, origin.etag) for origin in origins})
