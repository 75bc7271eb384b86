"""Which files make up which day of a partitioned source, and which days are not all there yet."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import PurePosixPath

from infra.errors import BadInput
from tasks.fetch import Found, source_file
from tasks.readers.base import LeftOut, SourceFile

DAY_FILE = re.compile(r"events/(?:day=)?(\d{4}-\d{2}-\d{2})(?:/.+)?\.(?:parquet|csv)")
DAY_SUMS = re.compile(r"events/(?:day=)?(\d{4}-\d{2}-\d{2})/SHA256SUMS")
SUM = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def days_of_files(found: Sequence[Found], sums: Mapping[Found, str]) -> tuple[list[SourceFile], list[LeftOut]]:
    """The files of all complete days, and the days or files left out.

    Args:
        found: all files of the source.
        sums: its `SHA256SUMS` files and their text. A day that has one is complete when it names exactly what is there.

    Raises:
        BadInput: a day's name is no date.
    """
    declared: dict[str, str] = {}
    faults: dict[date, LeftOut] = {}
    present = {file.name for file in found if DAY_FILE.fullmatch(file.name)}
    for file, text in sums.items():
        try:
            declared |= _digests(file, text, present)
        except ValueError as fault:
            faults[_day(DAY_SUMS, file)] = LeftOut(file.uri, str(fault))
    days: dict[date, list[SourceFile]] = defaultdict(list)
    for file in found:
        if file.name in present:
            day = _day(DAY_FILE, file)
            days[day].append(source_file(file, "events", day=day, sha256=declared.get(file.name)))
    files = [file for day in sorted(days) if day not in faults for file in days[day]]
    return files, [*faults.values(), *_strays(found)]


def _digests(sums: Found, text: str, present: set[str]) -> dict[str, str]:
    """Digests by file name. Raises `ValueError`, saying why, unless they name exactly the files beside `sums`."""
    folder = PurePosixPath(sums.name).parent
    lines = [SUM.fullmatch(line) for line in text.splitlines() if line.strip()]
    digests = {str(folder / match[2]): match[1] for match in lines if match}
    beside = {name for name in present if name.startswith(f"{folder}/")}
    if not all(lines):
        raise ValueError("half-uploaded: SHA256SUMS is not in the format of sha256sum")
    if lacking := sorted(digests.keys() - beside):
        raise ValueError(f"half-uploaded: SHA256SUMS names {PurePosixPath(lacking[0]).name}, which is not there")
    if unnamed := sorted(beside - digests.keys()):
        raise ValueError(f"half-uploaded: SHA256SUMS does not name {PurePosixPath(unnamed[0]).name}, which is there")
    return digests


def _day(pattern: re.Pattern[str], file: Found) -> date:
    match = pattern.fullmatch(file.name)
    try:
        return date.fromisoformat(match[1] if match else file.name)
    except ValueError:
        raise BadInput(f"A day of events is named YYYY-MM-DD. Received: {file.uri}") from None


def _strays(found: Sequence[Found]) -> list[LeftOut]:
    """Event files outside of any day; silence about them would lose data."""
    tables = [f for f in found if f.name.startswith("events/") and f.name.endswith((".parquet", ".csv"))]
    reason = "it lies outside of events/YYYY-MM-DD/, so its day is not known"
    return [LeftOut(file.uri, reason) for file in tables if not DAY_FILE.fullmatch(file.name)]
