"""What goes between a benchmark and a peer in an environment of its own: a folder. Needs NumPy alone.

`asked.json` and `events.npz` go there, `lists.npy` and `told.json` come back. Viewers and videos are numbers from 0.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """What is asked of a peer.

    Attributes:
        method: as our candidate of it is called.
        params: of our candidate.
        seed: of the training.
        k: videos a list.
        n_videos: in the vocabulary.
        viewers, videos: `[events]` all that is known, oldest first within a viewer, viewers ascending.
        stops: `[events]` bool, which events are for early stopping; models that stop nothing early learn from all.
        judged: viewers that want a list, ascending.
        folder: for whatever a peer writes.
    """

    method: str
    params: dict[str, Any]
    seed: int
    k: int
    n_videos: int
    viewers: Ints
    videos: Ints
    stops: NDArray[np.bool_]
    judged: Ints
    folder: Path

    def leave(self) -> None:
        """Write it into `folder`."""
        plain = {name: getattr(self, name) for name in ("method", "params", "seed", "k", "n_videos")}
        (self.folder / "asked.json").write_text(json.dumps(plain), encoding="utf-8")
        arrays = {name: getattr(self, name) for name in ("viewers", "videos", "stops", "judged")}
        np.savez(self.folder / "events.npz", **arrays)

    @classmethod
    def read(cls, folder: Path) -> "Asked":
        """What `leave` wrote."""
        plain = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
        return cls(**plain, **np.load(folder / "events.npz"), folder=folder)


@dataclass(frozen=True)
class Answer:
    """What a recommender came to.

    Attributes:
        lists: `[judged, k]` videos, best first, -1 where there is none.
        told: `fit` and `rank`, seconds; of what trains by epochs `ends`, seconds from the start of the fit to the end
            of each, `best`, its number from 1, and `sequences` an epoch.
    """

    lists: NDArray[np.int32]
    told: dict[str, Any]

    def leave(self, folder: Path) -> None:
        """Write it into `folder`."""
        np.save(folder / "lists.npy", self.lists)
        (folder / "told.json").write_text(json.dumps(self.told), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Answer":
        """What `leave` wrote."""
        return cls(np.load(folder / "lists.npy"), json.loads((folder / "told.json").read_text(encoding="utf-8")))


def best_unseen(scores: NDArray[np.float32], seen: NDArray[np.bool_], k: int) -> NDArray[np.int32]:
    """`[viewers, k]` from `[viewers, videos]`, for peers that give scores."""
    scores = np.where(seen, -np.inf, scores)
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int32)


def serve(methods: Mapping[str, Callable[[Asked], Answer]]) -> None:
    """Answer what lies in the folder that the command line names."""
    folder = Path(sys.argv.pop())  # RecBole reads the command line too
    asked = Asked.read(folder)
    methods[asked.method](asked).leave(folder)
