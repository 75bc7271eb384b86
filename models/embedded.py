"""Recommenders whose towers embed videos that nobody has watched: towers, and beside them a table of videos.

The towers (`weights.safetensors`, `config.json`) decide the embedding space; the table (`videos.safetensors`) holds
what they made of the catalogue, and names their space. So a catalogue that grows gives a new table and no new model.
"""

from abc import ABC, abstractmethod
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.modality import Rows, Table
from models.protocol import Diverged, Training
from models.search import space_id
from models.sequences import Sequences
from models.video_content import VideoContent

VIDEOS = "videos.safetensors"


class Embedded(ABC):
    """A `models.protocol.Recommender` that scores videos by a table, and can embed more of them.

    Attributes:
        n_videos: size of the vocabulary, the table's first rows; 0 before `fit`.
        encoders: by modality the digest of the encoders that the towers understand.
    """

    n_videos: int = 0
    encoders: dict[str, str]
    _table: Table

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length of a video's vector."""

    @abstractmethod
    def fit(self, data: Training) -> dict[str, Any]:
        """Train in place and embed all of `data.content`."""

    @abstractmethod
    def viewer_vectors(self, histories: Sequences) -> Table:
        """`[viewers, dim]`; the histories' videos are rows of the table, beyond the vocabulary too."""

    @abstractmethod
    def embed(self, content: VideoContent, *, rows: Rows | None = None) -> Table:
        """Vectors of videos as these towers see them.

        Args:
            content: a catalogue whose first `n_videos` rows are the vocabulary, made by the `encoders` known.
            rows: `[n]` which of its rows are asked for; None: all.

        Returns:
            `[n, dim]` float32. A row's bits do not depend on what else is in `content` or in `rows`, so embedding
            what is new and appending it gives what embedding everything gives.

        Raises:
            ValueError: a modality is missing or of another encoder.
        """

    @abstractmethod
    def save_towers(self, folder: Path) -> None:
        """Write `weights.safetensors` and `config.json` into `folder`, made if absent."""

    @classmethod
    @abstractmethod
    def load_towers(cls, folder: Path) -> Self:
        """Read what `save_towers` wrote; the table is empty. Raises `ValueError` when it is not that."""

    @property
    def space(self) -> str:
        """The embedding space: what `models.search.space_id` gives for the saved towers."""
        with TemporaryDirectory() as folder:
            self.save_towers(Path(folder))
            return space_id(Path(folder))

    def video_vectors(self) -> Table:
        """`[videos, dim]`: the vocabulary, then videos that nobody has watched."""
        return self._table

    def extended(self, vectors: Table) -> Self:
        """The same towers with the table `vectors` `[videos, dim]` float32; `self` stays as it is.

        Raises:
            ValueError: another dimension, fewer rows than the vocabulary has, or a NaN.
        """
        other = copy(self)
        other._table = self._checked(vectors, "a table")
        return other

    def save(self, folder: Path) -> None:
        """Write the towers, and the table beside them."""
        self.save_towers(folder)
        save_table(folder, self._table, space=space_id(folder))

    def save_videos(self, folder: Path) -> None:
        """Write `videos.safetensors` alone, naming these towers' space. Equal tables give equal bytes."""
        save_table(folder, self._table, space=self.space)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ValueError: it is not that, or the table is of other towers, of another dimension, or holds a NaN.
        """
        loaded = cls.load_towers(folder)
        vectors, made_by = read_table(folder / VIDEOS)
        if made_by != (space := space_id(folder)):
            raise ValueError(
                "Towers and embedded videos must share one embedding space. Received: towers of "
                f"{space[:12]}, videos of {made_by[:12]} in {folder}"
            )
        loaded._table = loaded._checked(vectors, str(folder / VIDEOS))
        return loaded

    def _checked(self, vectors: Table, what: str) -> Table:
        rows, dim = vectors.shape if vectors.ndim == 2 else (0, 0)
        if rows < self.n_videos or dim != self.dim or vectors.dtype != np.float32:
            raise ValueError(
                f"Embedded videos must be [at least {self.n_videos}, {self.dim}] float32. Received: "
                f"{what} {vectors.shape} {vectors.dtype}"
            )
        if not np.isfinite(vectors).all():
            raise ValueError(f"Embedded videos must be finite. Received: NaN or infinity in {what}")
        return vectors

    def _refuse_other_encoders(self, content: VideoContent) -> None:
        for modality, digest in self.encoders.items():
            if (received := content.encoders.get(modality, "none")) != digest:
                raise ValueError(
                    f"{modality} must come from the encoder that the towers were trained on, {digest}. "
                    f"Received: {received}"
                )
        if self.encoders and content.n_videos < self.n_videos:
            raise ValueError(
                f"Content must cover the vocabulary of {self.n_videos} videos. Received: {content.n_videos} videos"
            )


def content_of(data: Training, *, candidate: str) -> VideoContent:
    """The content that `candidate` learns from.

    Raises:
        Diverged: there is none; this candidate fails, the run goes on.
    """
    if data.content is None or not data.content.vectors:
        raise Diverged(f"{candidate} needs content vectors: set encode.text or encode.media, or drop the candidate")
    return data.content


def save_table(folder: Path, vectors: Table, *, space: str) -> None:
    """Write `vectors` `[videos, dim]` of the embedding space `space` into `folder`, made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"vectors": np.ascontiguousarray(vectors)}, folder / VIDEOS, metadata={"space": space})


def read_table(path: Path) -> tuple[Table, str]:
    """What `save_table` wrote: the vectors and the space. Raises `ValueError` when it is not that."""
    try:
        with safe_open(path, framework="numpy") as kept:
            space = (kept.metadata() or {}).get("space", "none")
            return kept.get_tensor("vectors"), space
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except SafetensorError as error:
        raise ValueError(f"{path} is not a table of videos: {error}") from None
