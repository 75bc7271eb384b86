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
        work: folder for digests of files that are known, and copies from S3.
    """

    store: ObjectStore
    vectors: VectorStore
    encoders: Path
    work: Path


def open_shelves(settings: Settings) -> Shelves:
    """Those of this installation."""
    store, home = open_store(settings.store_url, settings), settings.home_dir
    return Shelves(store, VectorStore(store, home / "vectors"), home / "encoders", home / "media")
