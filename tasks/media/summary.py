"""What a video is about, for a person: its key frames, and the sentences that say most of what is said."""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.disk import arriving, make_folder
from models.encoders.protocol import Encoder
from tasks.media.decoded import Decoded
from tasks.media.screen_text import Line
from tasks.media.speech import Segment
from tasks.stage import read_json, write_json

FORMAT = 1
SENTENCES = 3
TITLE_LENGTH = 60
THUMBNAIL_SIDE = 320
JPEG = {"quality": 80, "subsampling": "4:2:0", "optimize": False, "progressive": False}

PAUSE = 1.0  # seconds of silence that end a sentence without a full stop
LONGEST = 40  # words; Whisper sometimes forgets every full stop
SHORTEST = 4  # words; "Yes, he's in." is central to nothing
ALIKE = 0.85  # cosine from which two sentences say the same; those of one topic have up to 0.8 (MiniLM)
DAMPING = 0.15
ROUNDS = 100  # what is left of the start is 0.85^100

KEY = re.compile(r"[0-9a-f]{64}")
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’]\w+)?")
END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]+[”’」』]*""")
ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|Jr|Sr|vs|[A-HJ-Z])|\be\.g|\bi\.e)\.$")


@dataclass(frozen=True)
class KeyFrame:
    """A shot's most representative frame: `seconds` from the start, `picture` `[height, width, 3]` uint8 RGB."""

    seconds: float
    picture: NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """A line on the screen, and from when."""

    seconds: float
    text: str
    score: float


@dataclass(frozen=True)
class Summary:
    """A video for a person.

    Attributes:
        title: the catalogue's, or else the most central sentence cut to 60 characters; None where nothing is said.
        sentences: at most three that are said, in order of time.
        key_frames: one for each shot, in order of time.
        speech: all that is said.
        on_screen: all that stands on the screen.
    """

    title: str | None
    sentences: tuple[Segment, ...]
    key_frames: tuple[KeyFrame, ...]
    speech: tuple[Segment, ...]
    on_screen: tuple[Seen, ...]


def summarise(
    decoded: Decoded,
    segments: Sequence[Segment],
    encoder: Encoder[str] | None,
    *,
    lines: Sequence[Line] = (),
    title: str | None = None,
) -> Summary:
    """Key frames and an extractive summary.

    Args:
        decoded: of which the stills are the key frames.
        segments: what is said, in order of time.
        encoder: sentences to unit vectors; None leaves out what needs them: the sentences, and a title made of them.
        lines: what stands on the stills.
        title: the catalogue's.
    """
    sentences = sentences_of(segments) if encoder is not None else []
    ranked = most_central([each.text for each in sentences], encoder) if encoder is not None else []
    titled = (title or "").strip() or (shortened(sentences[ranked[0]].text) if ranked else None)
    return Summary(
        title=titled,
        sentences=tuple(sentences[at] for at in sorted(ranked[:SENTENCES])),
        key_frames=tuple(
            KeyFrame(float(at), still) for at, still in zip(decoded.still_times, decoded.stills, strict=True)
        ),
        speech=tuple(segments),
        on_screen=tuple(Seen(float(decoded.still_times[line.still]), line.text, line.score) for line in lines),
    )


def most_central(texts: Sequence[str], encoder: Encoder[str]) -> list[int]:
    """Indices of the texts worth telling, the most central first.

    Continuous LexRank over cosines (Erkan and Radev 2004, "LexRank: Graph-based Lexical Centrality as Salience in Text
    Summarization", 3.3), without links from a text to itself, as in TextRank (Mihalcea and Tarau 2004): with them a
    text that is like no other has an average rank. Of two that say the same only the more central is kept, as in
    LexRank's re-ranking, and texts of fewer than four words only where there are no others.
    """
    if not texts:
        return []
    vectors = np.asarray(encoder.encode(list(texts)), np.float64)
    cosines = np.clip(vectors @ vectors.T, 0, 1)
    np.fill_diagonal(cosines, 0)
    ranks = _lexrank(cosines)
    telling = np.asarray([len(WORD.findall(text)) >= SHORTEST for text in texts])
    kept: list[int] = []
    for at in np.argsort(-np.round(ranks, 12), kind="stable"):
        if (telling[at] or not telling.any()) and not (cosines[at, kept] >= ALIKE).any():
            kept.append(int(at))
    return kept


def _lexrank(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """`[n]`: the share of time that a walk from text to similar text, with jumps anywhere, spends at each."""
    links = np.where(cosines.any(axis=1, keepdims=True), cosines, 1.0)  # from a text like no other: anywhere
    steps = links / links.sum(axis=1, keepdims=True)
    ranks = np.full(len(cosines), 1 / len(cosines))
    for _ in range(ROUNDS):
        ranks = DAMPING / len(cosines) + (1 - DAMPING) * (steps.T @ ranks)
    return ranks


def sentences_of(segments: Sequence[Segment]) -> list[Segment]:
    """Whole sentences of `segments`; a sentence may span several, and a segment hold several.

    A sentence ends at a full stop, question or exclamation mark, before a pause of a second, or after 40 words. Times
    inside a segment are shares of its length.
    """
    sentences: list[list[Segment]] = [[]]
    for piece in (piece for segment in segments for piece in _pieces(segment)):
        last = sentences[-1]
        if last and (_ended(last) or piece.start - last[-1].end >= PAUSE):
            sentences.append(last := [])
        last.append(piece)
    return [
        Segment(pieces[0].start, pieces[-1].end, " ".join(piece.text for piece in pieces))
        for pieces in sentences
        if pieces
    ]


def _ended(pieces: Sequence[Segment]) -> bool:
    if sum(len(WORD.findall(piece.text)) for piece in pieces) >= LONGEST:
        return True
    return len(pieces[-1].text) in _stops(pieces[-1].text)


def _pieces(segment: Segment) -> Iterator[Segment]:
    """`segment` cut behind each full stop."""
    text = segment.text
    cuts = sorted({0, *_stops(text), len(text)})
    times = np.interp(cuts, (0, len(text)), (segment.start, segment.end)).round(3).tolist()
    for begin, end, start, stop in zip(cuts, cuts[1:], times, times[1:], strict=False):
        if words := text[begin:end].strip():
            yield Segment(start, stop, words)


def _stops(text: str) -> list[int]:
    """Where `text` has come to the end of a sentence."""
    return [stop.end() for stop in END.finditer(text) if not ABBREVIATION.search(text[: stop.end()])]


def shortened(text: str) -> str:
    """`text` in at most 60 characters, cut between words where it has any, with an ellipsis."""
    if len(text) <= TITLE_LENGTH:
        return text
    head = text[:TITLE_LENGTH]  # one more than there is room for: a word may end right there
    words = head[: head.rfind(" ")] if " " in head else head[:-1]
    return words.rstrip(" ,;:.-") + "…"


def write(folder: Path, key: str, summary: Summary) -> Path:
    """Write `FOLDER/KEY.json`, and each thumbnail as `FOLDER/SHA-256.jpg`: equal summaries give equal bytes.

    Args:
        folder: made if absent.
        key: SHA-256 of the video's id, in hexadecimal.
        summary: what is written.

    Returns:
        The JSON file, which comes last: the thumbnails that it names are there.

    Raises:
        ValueError: `key` is no SHA-256.
    """
    path = _path(folder, key)
    make_folder(folder)
    frames = [
        {"seconds": round(frame.seconds, 3), "thumbnail": _write_thumbnail(folder, frame.picture)}
        for frame in summary.key_frames
    ]
    content = {
        "format": FORMAT,
        "title": summary.title,
        "sentences": [asdict(each) for each in summary.sentences],
        "key_frames": frames,
        "speech": [asdict(each) for each in summary.speech],
        "on_screen": [
            {"seconds": round(line.seconds, 3), "text": line.text, "score": round(line.score, 4)}
            for line in summary.on_screen
        ],
    }
    write_json(path, content)
    return path


def read(folder: Path, key: str) -> dict[str, Any] | None:
    """What `write` wrote of the video; None where there is nothing of it. Raises `ValueError` like `write`."""
    path = _path(folder, key)
    return read_json(path) if path.is_file() else None


def _path(folder: Path, key: str) -> Path:
    if not KEY.fullmatch(key):
        raise ValueError(f"key must be a SHA-256 in hexadecimal. Received: {key!r}")
    return folder / f"{key}.json"


def _write_thumbnail(folder: Path, picture: NDArray[np.uint8]) -> str:
    data = _jpeg(picture)
    path = folder / f"{hashlib.sha256(data).hexdigest()}.jpg"
    if not path.exists():
        with arriving(path) as file:
            file.write(data)
    return path.name


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", **JPEG)
    return file.getvalue()
