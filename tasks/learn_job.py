"""What one learner is given, and what it says where there is nothing to learn from."""

from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import Checkpoint
from models.learning import learning_key
from models.params import Learn
from tasks.params import Text


class NothingToLearn(ValueError):
    """There are too few clips, categories or pairs. The message says which."""


@dataclass(frozen=True)
class Job:
    """What one learner is given.

    Attributes:
        clips: folder of what `tasks.cut_clips` left.
        catalogue: Parquet file of all videos.
        prepared: folder of who watched what (`tasks.prepared`).
        out: folder for weights and config.
        params: of all learners.
        text: of the text encoder that is tuned.
        frames: the frame encoder that is tuned, as `encode.media.frames` names it; None where there is none.
        seed: of every draw.
        checkpoints: folder of the training's state; None keeps none.
        cache: folder of unpacked encoder weights.
    """

    clips: Path
    catalogue: Path
    prepared: Path
    out: Path
    params: Learn
    text: Text
    frames: str | None
    seed: int
    checkpoints: Path | None
    cache: Path

    def checkpoint(self, name: str, data: object) -> Checkpoint | None:
        """The state of the training of `name` on `data`."""
        if self.checkpoints is None:
            return None
        told = self.params.model_dump(mode="json") | {"text": self.text.model_dump(mode="json"), "seed": self.seed}
        return Checkpoint(self.checkpoints, learning_key(name, told, data))
