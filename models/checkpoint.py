"""The state of a long training on disk, so that a killed one goes on where it was: safetensors, no pickle."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.protocol import Training
from models.sequences import Sequences
from models.weights import Arrays

STATE = "state.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """One file in `folder`, replaced as a whole after each epoch; with `folder` None nothing is kept.

    `key` says which training the state is of: that of another is not taken up.
    """

    folder: Path | None
    key: str

    def save(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Keep `arrays` and `facts` (JSON types only) in place of what was kept."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{STATE}.partial"
        save_file(arrays, partial, metadata={"state": json.dumps({"key": self.key, "facts": facts})})
        partial.replace(self.folder / STATE)

    def load(self) -> tuple[Arrays, dict[str, Any]] | None:
        """What was kept of this training; None when there is none, or it is torn."""
        if self.folder is None or not (self.folder / STATE).exists():
            return None
        try:
            with safe_open(self.folder / STATE, framework="numpy") as kept:
                state = json.loads(kept.metadata()["state"])
                if state["key"] != self.key:
                    return None
                return {name: kept.get_tensor(name) for name in kept.keys()}, state["facts"]  # noqa: SIM118
        except SafetensorError:
            return None


def training_key(data: Training, *, params: dict[str, Any], software: str) -> str:
    """SHA-256 over everything that decides a training's result."""
    facts = {"params": params, "software": software, "seed": data.seed, "videos": data.n_videos}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for histories in (data.train, data.valid):
        _add(digest, histories)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", histories: Sequences) -> None:
    for array in (histories.offsets, histories.videos):
        digest.update(array.tobytes())
