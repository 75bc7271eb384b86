"""How far this machine has proven each ledger: what shows that the newest entries of a chain were cut off."""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.disk import disk_errors, make_folder
from infra.errors import Refused
from lineage.canonical import Digest, sha256


class Rewritten(Refused):
    """A ledger is shorter than it was, or an entry that was seen before has other bytes."""


class Seen(BaseModel):
    """The newest entry up to which the chain was proven, and the SHA-256 of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seq: int
    sha256: Digest


class Witness:
    """What was seen, in a folder outside the store: one file a recommender."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def compare(self, name: str, seen: Seen, newest: int, entry: Callable[[int], bytes]) -> None:
        """Hold the ledger `name`, whose newest number is `newest`, against what was seen.

        Args:
            name: the recommender.
            seen: read before the ledger was, since others append and prove meanwhile.
            newest: 0 for an empty ledger.
            entry: the bytes of an entry by its number.

        Raises:
            Rewritten: entries that were seen are gone or changed.
        """
        if newest < seen.seq:
            raise Rewritten(
                f"The ledger of {name} ends with entry {newest}, although this machine has seen entry {seen.seq}: "
                f"entries were removed from the store. Restore them; what was seen is noted in {self._folder / name}."
            )
        if sha256(entry(seen.seq)) != seen.sha256:
            raise Rewritten(f"Entry {seen.seq} of the ledger of {name} is not the one that was seen there before.")

    def seen(self, name: str) -> Seen | None:
        """What was seen of the ledger `name`; None for nothing."""
        try:
            return Seen.model_validate_json((self._folder / name).read_bytes())
        except (FileNotFoundError, ValidationError):  # a kill tears no file here; an edited one says nothing
            return None

    def note(self, name: str, seen: Seen) -> None:
        """Remember how far the ledger `name` was proven."""
        known = self.seen(name)
        if known and known.seq >= seen.seq:
            return
        with disk_errors(self._folder):
            make_folder(self._folder)
            partial = self._folder / f".{name}.{seen.seq}.{os.getpid()}"
            partial.write_text(seen.model_dump_json(), encoding="utf-8")
            partial.replace(self._folder / name)
