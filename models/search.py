"""Indexes over video vectors for serving, bound to the model whose space they search.

Dense vectors go to faiss, exact up to a size and by a graph (HNSW) or cells (IVF) beyond. Sparse ones become an
inverted index: for each axis the videos on it, which is exact and as fast as histories are short.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.faiss_index import DenseSettings, FaissIndex
from models.protocol import Vectors
from models.ranking import NONE, Ranked, rank
from models.sequences import Sequences
from models.sparse import csr_arrays, load_csr
from models.weights import CONFIG, WEIGHTS

FACTS = "index.json"
POSTINGS = "postings.safetensors"


@dataclass(frozen=True)
class Facts:
    """What `index.json` says: `exact`, `hnsw`, `ivf` or `inverted`, the embedding space, and what was indexed."""

    kind: str
    space: str
    videos: int
    dim: int


class Searcher(Protocol):
    """One way to search."""

    def search(self, viewer_vectors: Any, seen: Sequences, k: int) -> Ranked:
        """As `models.ranking.top_k`."""

    def save(self, folder: Path) -> None:
        """Write the index's own file."""


@dataclass(frozen=True)
class Index:
    """An index and the space it belongs to."""

    facts: Facts
    searcher: Searcher

    @classmethod
    def build(cls, video_vectors: Vectors, settings: DenseSettings, *, space: str, seed: int) -> "Index":
        """Index `video_vectors` `[videos, d]` of the embedding space `space`. Equal input gives equal bytes."""
        n_videos, dim = video_vectors.shape
        if isinstance(video_vectors, sp.csr_array):
            return cls(Facts("inverted", space, n_videos, dim), Inverted(video_vectors.T.tocsr()))
        kind = settings.kind_for(n_videos)
        searcher = FaissIndex.build(video_vectors, settings, kind=kind, seed=seed)
        return cls(Facts(kind, space, n_videos, dim), searcher)

    def search(self, viewer_vectors: Vectors, *, seen: Sequences, k: int) -> Ranked:
        """The `k` nearest videos that each viewer has not seen: as `models.ranking.top_k`, nearly or exactly.

        Raises:
            ValueError: `viewer_vectors` are of another dimension or kind.
        """
        sparse = isinstance(viewer_vectors, sp.csr_array)
        if viewer_vectors.shape[1] != self.facts.dim or sparse != isinstance(self.searcher, Inverted):
            raise ValueError(
                f"The {self.facts.kind} index takes vectors [viewers, {self.facts.dim}]. Received: "
                f"{'sparse' if sparse else 'dense'} {viewer_vectors.shape}"
            )
        return self.searcher.search(viewer_vectors, seen, k)

    def save(self, folder: Path) -> None:
        """Write `index.json` and the index's file into `folder`, made if absent."""
        folder.mkdir(parents=True, exist_ok=True)
        self.searcher.save(folder)
        (folder / FACTS).write_text(json.dumps(asdict(self.facts), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, model: Path) -> "Index":
        """The index in `folder`, to be used with the recommender in the folder `model`.

        Check digests first: faiss trusts the bytes that it reads.

        Raises:
            ValueError: the index is missing, or is of another embedding space than `model`.
        """
        facts = _read_facts(folder / FACTS)
        if facts.space != (space := space_id(model)):
            raise ValueError(
                f"Index and model must share one embedding space. Received: {folder} of {facts.space[:12]}, "
                f"{model} of {space[:12]}"
            )
        return cls(facts, (Inverted if facts.kind == "inverted" else FaissIndex).load(folder))


def space_id(model: Path) -> str:
    """The embedding space of the recommender saved in `model`: SHA-256 over the digests of weights and config.

    Raises:
        ValueError: `model` lacks one of them.
    """
    try:
        digests = [hashlib.sha256((model / name).read_bytes()).hexdigest() for name in (WEIGHTS, CONFIG)]
    except FileNotFoundError as error:
        raise ValueError(f"{model} must hold {WEIGHTS} and {CONFIG}: {error}") from None
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def recall(found: NDArray[np.int32], viewer_vectors: Vectors, video_vectors: Vectors, *, exact: Ranked) -> float:
    """The share of the `exact` lists' places that `found` `[viewers, k]` fills as well: 1.0 for exact search.

    A place counts as filled by a video that scores no less than the exact list's last, up to float32 rounding: of
    videos that tie, any will do.
    """
    videos, scores = exact
    places = np.count_nonzero(videos != NONE)
    if not places:
        return 1.0
    last = np.min(scores, axis=1, where=videos != NONE, initial=np.inf)
    rows, columns = np.nonzero(found != NONE)
    own = viewer_vectors[rows] * video_vectors[found[rows, columns]]
    reached = np.asarray(own.sum(axis=1)) >= last[rows] - 1e-5 * np.abs(last[rows])
    return float(min(1.0, np.count_nonzero(reached) / places))


@dataclass(frozen=True)
class Inverted:
    """Sparse video vectors, turned: `[d, videos]`."""

    postings: sp.csr_array

    def search(self, viewer_vectors: Any, seen: Sequences, k: int) -> Ranked:
        """Exact."""
        return rank(viewer_vectors, self.postings, seen, k)

    def save(self, folder: Path) -> None:
        """Write the postings."""
        save_file(csr_arrays(self.postings), folder / POSTINGS)

    @classmethod
    def load(cls, folder: Path) -> "Inverted":
        """Read them. Raises `ValueError` when they are missing or damaged."""
        return cls(load_csr(folder / POSTINGS))


def _read_facts(path: Path) -> Facts:
    try:
        return Facts(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} does not describe an index: {error}") from None
