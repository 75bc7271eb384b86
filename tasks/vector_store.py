"""Content vectors kept for ever: by the digest of what was encoded and the digest of what encoded it.

Under `vectors/ENCODER/` lie immutable shards, each named by the SHA-256 of its bytes; a run adds what it had to encode
and removes nothing, so runs, branches and machines that share the store share the work.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from infra.disk import disk_errors, make_folder
from infra.errors import Refused
from infra.stores import ObjectStore

# So many rows are encoded between two shards: what a killed run loses at most.
ROWS_A_SHARD = 8192
KEY = "S32"

log = logging.getLogger(__name__)

Keys = NDArray[np.bytes_]


@dataclass(frozen=True)
class Known:
    """What one encoder has made of some contents. The vectors stay on disk until they are taken.

    Attributes:
        keys: `[n]` content digests (32 bytes each), ascending, each once.
        shards: `[rows, dim]` float32 each, memory-mapped.
        places: `[n, 2]`: shard and row in it of each key.
        dim: length of a vector.
        failures: why, by content digest in hex.
    """

    keys: Keys
    shards: Sequence[NDArray[np.float32]]
    places: NDArray[np.int64]
    dim: int
    failures: Mapping[str, str]

    def rows(self, wanted: Keys) -> NDArray[np.int64]:
        """`[len(wanted)]` rows of `vectors`, -1 where a content is not known."""
        at = np.searchsorted(self.keys, wanted)
        if not len(self.keys):
            return np.full(len(wanted), -1, np.int64)
        found = self.keys[np.minimum(at, len(self.keys) - 1)] == wanted
        return np.where(found, at, -1)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[len(rows), dim]`: the vectors of `rows`, as `rows` gave them; NaN for -1 and where encoding failed."""
        taken = np.full((len(rows), self.dim), np.nan, np.float32)
        known = np.flatnonzero(rows >= 0)
        shard, row = self.places[rows[known]].T
        for number in np.unique(shard):
            mine = shard == number
            taken[known[mine]] = self.shards[number][row[mine]]
        return taken


# Of the contents at some places of the list that it was given: their vectors, and why others have none.
Encode = Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], Mapping[int, str]]]


class VectorStore:
    """The vectors in `store`, with local copies of its shards under the folder `cache`."""

    def __init__(self, store: ObjectStore, cache: Path) -> None:
        self._store = store
        self._cache = cache

    def known(self, encoder: str, dim: int) -> Known:
        """Everything that the encoder with the digest `encoder` has made. Raises `Refused` on a damaged shard."""
        shards = [self._shard(key) for key in self._store.keys(f"vectors/{encoder}/")]
        each = [_keys_in(shard) for shard in shards]
        keys, first = np.unique(np.concatenate([np.empty(0, KEY), *each]), return_index=True)
        numbers = np.repeat(np.arange(len(each)), [len(keys) for keys in each])
        rows = np.concatenate([np.empty(0, np.int64), *(np.arange(len(keys)) for keys in each)])
        failures = {key: why for shard in shards for key, why in _failures_in(shard).items()}
        places = np.column_stack([numbers, rows]).astype(np.int64)[first]
        return Known(keys, [shard["vectors"] for shard in shards], places, dim, failures)

    def fill(self, encoder: str, dim: int, keys: Keys, encode: Encode, *, rows_a_shard: int = ROWS_A_SHARD) -> Known:
        """What is known of `keys`, after what was not known yet has been encoded and stored, shard by shard.

        Args:
            encoder: digest of weights and preprocessing.
            dim: length of its vectors.
            keys: `[n]` content digests; repeats are encoded once.
            encode: called with places in `keys`.
            rows_a_shard: how many are encoded between two shards.
        """
        known = self.known(encoder, dim)
        distinct, first = np.unique(keys, return_index=True)
        missing = first[known.rows(distinct) < 0]
        for start in range(0, len(missing), rows_a_shard):
            places = missing[start : start + rows_a_shard]
            vectors, failures = encode(places)
            self.add(encoder, keys[places], vectors, {hex_of(keys[at]): why for at, why in failures.items()})
        return self.known(encoder, dim) if len(missing) else known

    def add(self, encoder: str, keys: Keys, vectors: NDArray[np.float32], failures: Mapping[str, str]) -> None:
        """Store one shard.

        Args:
            encoder: digest of weights and preprocessing.
            keys: `[n]` content digests, ascending.
            vectors: `[n, dim]`, NaN where encoding failed.
            failures: why, by content digest in hex; `""` where the content has nothing of the kind.
        """
        data = save(
            {
                "failures": np.frombuffer(json.dumps(failures, sort_keys=True).encode(), np.uint8),
                "keys": np.frombuffer(b"".join(key.ljust(32, b"\0") for key in keys.tolist()), np.uint8),
                "vectors": np.ascontiguousarray(vectors),
            }
        )
        self._store.put_if_absent(f"vectors/{encoder}/{hashlib.sha256(data).hexdigest()}", data)

    def _shard(self, key: str) -> dict[str, NDArray[Any]]:
        copy = self._cache / Path(key).name
        with disk_errors(self._cache):
            if not copy.exists():
                make_folder(self._cache)
                self._store.download(key, copy)
            with copy.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != copy.name:
            copy.unlink()
            raise Refused(f"The vectors {key} are damaged: their digest differs. Remove them to encode them again.")
        return _mapped(copy)


def content_keys(digests: Sequence[str]) -> Keys:
    """SHA-256 digests in hex as the store's keys."""
    return np.array([bytes.fromhex(digest) for digest in digests], KEY)


def hex_of(key: bytes) -> str:
    """A key as the digest that it was made of: NumPy drops the zero bytes at its end."""
    return key.ljust(32, b"\0").hex()


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file, memory-mapped: the library's own loaders copy all of it."""
    with path.open("rb") as file:
        start = 8 + (length := int.from_bytes(file.read(8), "little"))
        header = json.loads(file.read(length))
    types: dict[str, Any] = {"U8": np.uint8, "F32": np.float32}
    whole = np.memmap(path, np.uint8, "r")
    return {
        name: whole[start + of["data_offsets"][0] : start + of["data_offsets"][1]]
        .view(types[of["dtype"]])
        .reshape(of["shape"])
        for name, of in header.items()
    }


def _keys_in(shard: Mapping[str, NDArray[Any]]) -> Keys:
    return np.array(shard["keys"]).reshape(-1, 32).view(KEY)[:, 0]


def _failures_in(shard: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    failures: dict[str, str] = json.loads(shard["failures"].tobytes())
    return failures
