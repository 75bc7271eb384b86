"""What is said, what stands on the screen and what is shown, kept for ever by the content that it was taken from."""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.stores import Missing, ObjectStore
from models.encoders.protocol import Encoder
from tasks.media import screen_text, speech
from tasks.media.decoded import Decoded
from tasks.media.summary import FORMAT, summarise, write
from tasks.params import Media

SUMMARIES = "summaries/"
THUMBNAILS = "thumbnails/"


class NoteTaker:
    """Listens and reads where the packages for it are installed; `digest` names all that does."""

    def __init__(self, params: Media, sentences: Encoder[str] | None) -> None:
        self._speech = speech.Speech() if params.speech and speech.available() else None
        self._screen = screen_text.ScreenText() if params.recognised and screen_text.available() else None
        self._sentences = sentences
        used = [of.digest for of in (self._speech, self._screen, sentences) if of]
        chosen = repr((FORMAT, params.speech, params.recognised, params.frames_per_video, params.max_seconds, used))
        self.digest = hashlib.sha256(chosen.encode()).hexdigest()

    def key(self, content: str) -> str:
        """Where the notes on the file with the SHA-256 `content` are stored."""
        return f"{SUMMARIES}{self.digest}/{content}.json"

    def take(self, content: str, decoded: Decoded, store: ObjectStore) -> None:
        """Store the notes on a video, its thumbnails first."""
        said = self._speech.transcribe(decoded.sound) if self._speech and decoded.sound is not None else []
        lines = self._screen.read(decoded.stills) if self._screen else []
        with TemporaryDirectory(prefix="nightreel-notes-") as folder:
            path = write(Path(folder), content, summarise(decoded, said, self._sentences, lines=lines))
            for picture in sorted(Path(folder).glob("*.jpg")):
                store.put_if_absent(f"{THUMBNAILS}{picture.name}", picture.read_bytes())
            store.put_if_absent(self.key(content), path.read_bytes())


def read_notes(store: ObjectStore, key: str) -> dict[str, Any] | None:
    """What `NoteTaker.take` stored; None where the video could not be decoded."""
    try:
        notes: dict[str, Any] = json.loads(store.get(key))
    except Missing:
        return None
    return notes


def spoken(notes: dict[str, Any]) -> str:
    """All that is said, as one text."""
    return " ".join(each["text"] for each in notes["speech"])


def on_screen(notes: dict[str, Any]) -> str:
    """All that stands on the screen, as one text."""
    return " ".join(each["text"] for each in notes["on_screen"])
