"""What stands on the screen, Chinese and English: PP-OCRv6 by RapidOCR, with the weights that its package carries."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadInput

DETECTOR = "PP-OCRv6_det_small.onnx"
READER = "PP-OCRv6_rec_small.onnx"
LIBRARIES = ("rapidocr", "onnxruntime")
# Pictures without any writing gave single characters with scores of up to 0.94, and two letters with 0.65.
LEAST_SCORE = 0.8
LEAST_CHARACTERS = 2
NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Line:
    """One line of text.

    Attributes:
        still: which of the stills it was first seen on.
        text: what it says.
        score: the reader's mean confidence in its characters, 0..1.
    """

    still: int
    text: str
    score: float


class ScreenText:
    """Reads stills. The weights are loaded when the first one comes."""

    licence = "Apache-2.0"

    def __init__(self) -> None:
        """Raises `BadInput` where the package or its weights are missing."""
        self._folder = _package() / "models"
        if missing := [name for name in (DETECTOR, READER) if not (self._folder / name).is_file()]:
            raise BadInput(f"The package rapidocr must carry {', '.join(missing)}. Install rapidocr 3.10.0.")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the weights, the libraries' versions and what is dropped."""
        digest = hashlib.sha256(f"{LEAST_SCORE} {LEAST_CHARACTERS}".encode())
        for library in LIBRARIES:
            digest.update(f"\0{library} {version(library)}".encode())
        for name in (DETECTOR, READER):
            with (self._folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def read(self, stills: Sequence[NDArray[np.uint8]]) -> list[Line]:
        """The lines of all stills, from top to bottom; one that comes again is told once, where it was seen first.

        Args:
            stills: `[height, width, 3]` uint8 RGB each.
        """
        known: set[str] = set()
        lines = []
        for line in self._lines(stills):
            words = NOT_WORDS.sub("", line.text).casefold()
            if line.score >= LEAST_SCORE and len(words) >= LEAST_CHARACTERS and words not in known:
                known.add(words)
                lines.append(line)
        return lines

    def _lines(self, stills: Sequence[NDArray[np.uint8]]) -> Iterator[Line]:
        for at, still in enumerate(stills):
            found = self._reader(np.ascontiguousarray(still[..., ::-1]))  # wants blue first
            for text, score in zip(found.txts or (), found.scores or (), strict=True):
                yield Line(at, text.strip(), float(score))

    @cached_property
    def _reader(self) -> Any:
        from rapidocr import RapidOCR

        return RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # text that stands on its head is not looked for
                "Global.text_score": 0.0,
                # where no path is given, a missing file would be downloaded
                "Det.model_path": str(self._folder / DETECTOR),
                "Rec.model_path": str(self._folder / READER),
                # sums of several threads come out in another order
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )


def available() -> bool:
    """Whether the packages that read are installed (`nightreel[media]`)."""
    return all(find_spec(name) is not None for name in ("rapidocr", "onnxruntime", "cv2"))


def _package() -> Path:
    # found, not imported: importing it takes seconds, and most nights need no more than the digest
    spec = find_spec("rapidocr")
    if spec is None or spec.origin is None:
        raise BadInput("Reading on-screen text needs the package rapidocr: install nightreel[media].")
    return Path(spec.origin).parent
