"""Dense video vectors in faiss: exact, by a graph (HNSW) or by cells (IVF)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.ranking import NONE, Ranked
from models.sequences import Sequences

FILE = "index.faiss"

# faiss warns when a cell's centre is learnt from fewer
MIN_VIDEOS_A_LIST = 39


@dataclass(frozen=True)
class DenseSettings:
    """How dense vectors are indexed; `kind` `auto` is exact up to `exact_up_to` videos, then HNSW."""

    kind: Literal["auto", "exact", "hnsw", "ivf"]
    exact_up_to: int
    hnsw_links: int
    hnsw_search: int
    ivf_lists: int
    ivf_probes: int

    def kind_for(self, n_videos: int) -> str:
        """`exact`, `hnsw` or `ivf` for a catalogue of `n_videos`."""
        if self.kind != "auto":
            return self.kind
        return "exact" if n_videos <= self.exact_up_to else "hnsw"


@dataclass(frozen=True)
class FaissIndex:
    """A faiss index of inner products; `kind` as in `DenseSettings.kind_for`."""

    index: Any

    @classmethod
    def build(cls, vectors: NDArray[np.float32], settings: DenseSettings, *, kind: str, seed: int) -> "FaissIndex":
        """Index `vectors` `[videos, d]`. Equal input gives equal bytes."""
        with _one_thread():
            index = {"exact": _exact, "hnsw": _hnsw, "ivf": _ivf}[kind](vectors, settings, seed)
            index.add(np.ascontiguousarray(vectors))
        return cls(index)

    def search(self, viewer_vectors: Any, seen: Sequences, k: int) -> Ranked:
        """As `models.ranking.top_k`; viewer by viewer, as each leaves out videos of their own."""
        videos = np.full((len(viewer_vectors), k), NONE, np.int32)
        scores = np.full((len(viewer_vectors), k), -np.inf, np.float32)
        for viewer, vector in enumerate(np.ascontiguousarray(viewer_vectors)):
            found_scores, found = self.index.search(vector[None], k, params=self._options(seen.of(viewer), k))
            videos[viewer] = found[0]
            scores[viewer] = np.where(found[0] == NONE, -np.inf, found_scores[0])
        return videos, scores

    def _options(self, seen: NDArray[np.int32], k: int) -> Any:
        faiss = _faiss()
        unseen = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.unique(seen).astype(np.int64)))
        if isinstance(self.index, faiss.IndexHNSW):
            # a search no wider than the list finds it badly
            return faiss.SearchParametersHNSW(sel=unseen, efSearch=max(self.index.hnsw.efSearch, 2 * k))
        if isinstance(self.index, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=unseen, nprobe=self.index.nprobe)
        return faiss.SearchParameters(sel=unseen)

    def save(self, folder: Path) -> None:
        """Write faiss's own file."""
        _faiss().write_index(self.index, str(folder / FILE))

    @classmethod
    def load(cls, folder: Path) -> "FaissIndex":
        """Read it. Raises `ValueError` when it is missing or faiss refuses it."""
        try:
            return cls(_faiss().read_index(str(folder / FILE)))
        except RuntimeError as error:
            raise ValueError(f"{folder / FILE} is not a faiss index: {error}") from None


def _faiss() -> Any:
    # imported when first needed: a sparse model is served without it; and untyped, as its stubs lack half of it
    return import_module("faiss")


def _exact(vectors: NDArray[np.float32], settings: DenseSettings, seed: int) -> Any:
    return _faiss().IndexFlatIP(vectors.shape[1])


def _hnsw(vectors: NDArray[np.float32], settings: DenseSettings, seed: int) -> Any:
    faiss = _faiss()
    index = faiss.IndexHNSWFlat(vectors.shape[1], settings.hnsw_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.rng = faiss.RandomGenerator(seed)
    index.hnsw.efSearch = settings.hnsw_search
    return index


def _ivf(vectors: NDArray[np.float32], settings: DenseSettings, seed: int) -> Any:
    faiss = _faiss()
    n_videos, dim = vectors.shape
    lists = max(1, min(settings.ivf_lists, n_videos // MIN_VIDEOS_A_LIST))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = settings.ivf_probes
    index.cp.seed = seed
    index.train(np.ascontiguousarray(vectors))
    return index


@contextmanager
def _one_thread() -> Iterator[None]:
    """With several threads the links of a graph depend on which came first."""
    faiss = _faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
