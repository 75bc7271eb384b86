"""When a release was live: from one ledger entry to the next."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lineage.ledger import Entry


@dataclass(frozen=True)
class Interval:
    """From the entry that made a release live to the one that ended it; `until` is None while it is live."""

    entry: Entry
    until: Entry | None

    def as_row(self) -> dict[str, Any]:
        """The entry as plain JSON types, with `until` (UTC, ISO 8601) and `until_seq`, both None while it is live."""
        ended = {"until": self.until and self.until.at, "until_seq": self.until and self.until.seq}
        return self.entry.model_dump(mode="json") | ended


def intervals(entries: Iterable[Entry]) -> dict[str, list[Interval]]:
    """By release, each time that it was live, oldest first. `entries`: the whole ledger in its order."""
    ordered = list(entries)
    found: dict[str, list[Interval]] = {}
    for entry, until in zip_longest(ordered, ordered[1:]):
        found.setdefault(entry.release, []).append(Interval(entry, until))
    return found
