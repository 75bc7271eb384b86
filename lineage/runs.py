"""Records of nights: released, refused or unchanged, so that lineage can be asked forwards."""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import Refused
from infra.stores import ObjectStore
from lineage.canonical import Commit, Digest, canonical

RUNS = "runs/"


class _Frozen(BaseModel):
    # JSON has no tuples, so records are read with `strict` off where they hold them
    model_config = ConfigDict(frozen=True, extra="forbid")


class OriginFile(_Frozen):
    """A file of the source: path or S3 URL, size, and its SHA-256 or the object store's mark of its version."""

    uri: str
    bytes: int
    sha256: str
    etag: str | None


class LandedFile(_Frozen):
    """A landed file that a snapshot holds rows of.

    Attributes:
        table: `events`, `videos` or `users`.
        file, sha256, bytes: the landed file.
        first_rows: rows of the events when they landed; None for a catalogue.
        days: days that the snapshot takes from it, ISO 8601.
        origins: the source's files that it was made of.
        landed_at: when it landed, UTC, ISO 8601.
    """

    table: str
    file: str
    sha256: Digest
    bytes: int
    first_rows: int | None
    days: tuple[str, ...]
    origins: tuple[OriginFile, ...]
    landed_at: str | None


class RunRecord(_Frozen):
    """What a night read, with what, and what became of it.

    Attributes:
        name: the recommender.
        run: the night's run.
        commit: the run's git commit; `code` is the commit whose code ran, `clean` whether that was the checkout's own
            HEAD (else it holds changes that nobody had committed).
        as_of: the night's date.
        snapshot: SHA-256 of the snapshot's manifest, `record/snapshot.json` of the release.
        landed: the landed files of the snapshot.
        quarantined: rows by reason.
        packages: versions by name.
        candidate: the challenger.
        verdict: whether it passed the gate; None for a night that came to what was live already, or to what a person
            had rolled back from, so that nothing was judged.
        release: the release that was made of it, live or not; None likewise.
        model_version: MLflow's; None likewise.
        at: when the record was made, UTC, ISO 8601.
    """

    name: str
    run: str
    commit: Commit
    code: Commit
    clean: bool
    as_of: str
    snapshot: Digest
    landed: tuple[LandedFile, ...]
    quarantined: Mapping[str, int]
    packages: Mapping[str, str]
    candidate: str
    verdict: bool | None
    release: Digest | None
    model_version: str | None
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT")]

    def encoded(self) -> bytes:
        """The bytes that are stored."""
        return canonical(self.model_dump(mode="json"))

    @property
    def key(self) -> str:
        """Where it is stored: a run that gates twice, having lost a race, leaves two commits and two records."""
        return f"{RUNS}{self.name}/{self.run}-{self.commit[:12]}.json"


def has_record(store: ObjectStore, name: str, run: str) -> bool:
    """Whether the run `run` of the recommender `name` has left a record."""
    return next(store.keys(f"{RUNS}{name}/{run}-"), None) is not None


def put_record(store: ObjectStore, record: RunRecord) -> None:
    """Store the record; one of the same run and commit stays as it is."""
    store.put_if_absent(record.key, record.encoded())


def records(store: ObjectStore, name: str) -> list[RunRecord]:
    """The records of the recommender `name`, oldest first. Raises `Refused` that names one that cannot be read."""
    found = []
    for _, record in examined(store, name):
        if isinstance(record, Refused):
            raise record
        found.append(record)
    return sorted(found, key=lambda record: (record.as_of, record.at))


def newest_records(store: ObjectStore, name: str) -> list[RunRecord]:
    """The records of the last day that the recommender `name` has a night of; runs are named by their day."""
    folder = f"{RUNS}{name}/"
    keys = list(store.keys(folder))
    last = keys[-1][len(folder) :][: len("2026-11-22")] if keys else ""
    found = (store.get(key) for key in keys if key.startswith(f"{folder}{last}"))
    return [RunRecord.model_validate_json(data) for data in found]


def examined(store: ObjectStore, name: str) -> Iterator[tuple[str, RunRecord | Refused]]:
    """The key of each record, with the record or why it cannot be read: for an audit."""
    for key in store.keys(f"{RUNS}{name}/"):
        try:
            yield key, RunRecord.model_validate_json(store.get(key))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the whole"
            yield key, Refused(f"The run record {key} cannot be read: {where}: {fault['msg']}.")
