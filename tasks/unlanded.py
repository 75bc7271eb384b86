"""Which partitions of a source no night has landed."""

from collections.abc import Mapping, Sequence
from datetime import date

from lineage.canonical import canonical, sha256
from lineage.runs import RunRecord
from tasks.readers.base import Reader, SourceFile

Mark = tuple[str, int, str | None]


def unlanded(reader: Reader, records: Sequence[RunRecord], *, today: date) -> list[SourceFile]:
    """Files of events, of days up to `today`, that none of `records` landed as they are now.

    They are told apart by address, size and, where an object store gives one, ETag. In a folder a file that was
    replaced by one of equal size is left to the night, which reads its bytes.
    """
    landed: set[Mark] = {
        (origin.uri, origin.bytes, origin.etag) for one in records for part in one.landed for origin in part.origins
    }
    due = (file for file in reader.files().files if file.table == "events" and (file.day or today) <= today)
    return [file for file in due if _mark(file) not in landed]


def told_of_new(created: Mapping[str, str | None], records: Sequence[RunRecord], *, location: str) -> bool:
    """Whether events tell of an object below `location` that none of `records` landed with this ETag."""
    landed = {(origin.uri, _bare(origin.etag)) for one in records for part in one.landed for origin in part.origins}
    below = f"{location.rstrip('/')}/"
    return any(uri.startswith(below) and (uri, _bare(etag)) not in landed for uri, etag in created.items())


def batch_id(files: Sequence[SourceFile]) -> str:
    """One name for this very set of files."""
    return sha256(canonical(sorted(map(_mark, files), key=str)))


def _mark(file: SourceFile) -> Mark:
    return file.uri, file.bytes, file.etag


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')
