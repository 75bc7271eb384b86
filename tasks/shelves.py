"""Where what has been encoded is found and kept."""

from dataclasses import dataclass
from pathlib import Path

from infra.settings import Settings
from infra.stores import ObjectStore, open_store
from tasks.vector_store import VectorStore


@dataclass(frozen=True)
class Shelves:
    """Places that all runs share.

    Attributes:
        store: the release store, which holds vectors, notes and thumbnails as well.
        vectors: in it, with copies on this machine.
        encoders: folder for weights that are unpacked once.
    """

    store: ObjectStore
    vectors: VectorStore
    encoders: Path

    @classmethod
    def at(cls, store: ObjectStore, home: Path) -> "Shelves":
        """Those of `store`, with what this machine keeps of them in the folder `home`."""
        return cls(store, VectorStore(store, home / "vectors"), home / "encoders")


def open_shelves(settings: Settings) -> Shelves:
    """Those of this installation."""
    return Shelves.at(open_store(settings.store_url, settings), settings.home_dir)
