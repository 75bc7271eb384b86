"""A media file opened so that nothing but itself is read, and what its streams decode to, faults noted.

FFmpeg follows playlists and references to other files and hosts, so only the formats below are tried, and only the open
file descriptor can be read from. One thread and the codecs' own limits make equal files give equal pictures.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import av

from tasks.media.limits import Limits, Undecodable

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,h264,hevc,ivf,gif,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,wav,w64,mp3,aac,flac,ac3,eac3,amr,aiff,caf"
)
TOO_LARGE = re.compile("image size|picture size|dimensions|width is not set", re.IGNORECASE)


@dataclass
class Trouble:
    """What went wrong while a stream was decoded.

    Attributes:
        lost: packets and pictures that could not be decoded.
        reason: the decoder's own words on the first of them.
    """

    lost: int = 0
    reason: str = ""

    def note(self, error: object) -> None:
        """Count a loss."""
        self.lost += 1
        self.reason = self.reason or _words(error)

    def sentence(self) -> str:
        """All of it in a few words."""
        return f"{self.lost} parts could not be decoded ({self.reason})"


@dataclass(frozen=True)
class Opened:
    """An open container and the streams that matter: `picture` and `sound` are None where there is no such stream."""

    container: Any
    picture: Any
    sound: Any
    trouble: Trouble = field(default_factory=Trouble)

    def decoded(self, stream: Any) -> Iterator[Any]:
        """The frames of `stream`, one at a time; what cannot be decoded is noted and left out."""
        for packet in self._packets(stream):
            try:
                frames = stream.decode(packet)
            except (av.FFmpegError, ValueError) as error:
                self.trouble.note(error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.trouble.note("a damaged picture")
                else:
                    yield frame

    def _packets(self, stream: Any) -> Iterator[Any]:
        """The packets of `stream`, the last one None or empty, which has the codec give what it still holds."""
        try:
            yield from self.container.demux(stream)
        except (av.FFmpegError, ValueError) as error:
            self.trouble.note(error)
            yield None


@contextmanager
def opened(descriptor: int, *, limits: Limits) -> Iterator[Opened]:
    """Open the file behind `descriptor` from its start.

    Raises:
        Undecodable: FFmpeg knows no such format, there is neither picture nor sound, or a picture is too large.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    # no other protocol, or a playlist that somebody uploads as a video would read any file or host
    options = {"fd": str(descriptor), "protocol_whitelist": "fd", "format_whitelist": FORMATS}
    try:
        container = av.open("fd:", options=options | {"max_pixels": str(limits.max_pixels)})
    except (av.FFmpegError, ValueError) as error:
        raise Undecodable(f"it is no media file that can be read ({_words(error)})") from None
    with container:
        picture = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
        sound = next(iter(container.streams.audio), None)
        if picture is None and sound is None:
            raise Undecodable("it holds neither pictures nor sound")
        for stream in (picture, sound):
            if stream is not None:
                _restrain(stream, limits)
        yield Opened(container, picture, sound)


def _restrain(stream: Any, limits: Limits) -> None:
    codec = stream.codec_context
    if codec is None:
        raise Undecodable("its codec is unknown")
    if stream.type == "video":
        if codec.width * codec.height > limits.max_pixels:
            raise Undecodable(
                f"its pictures are {codec.width} x {codec.height}, more than {limits.max_pixels:,} pixels"
            )
        codec.options = {"max_pixels": str(limits.max_pixels)}
    codec.thread_count = 1


def too_large(reason: str, limits: Limits) -> str | None:
    """The sentence on pictures larger than allowed, when that is what the decoder's `reason` says."""
    found = TOO_LARGE.search(reason)
    return f"its pictures are larger than {limits.max_pixels:,} pixels, or have no size" if found else None


def _is_cover(stream: Any) -> bool:
    """Whether a picture stream is the cover of a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _words(error: object) -> str:
    """What FFmpeg says, without its error numbers."""
    text = getattr(error, "strerror", None) or str(error)
    log = getattr(error, "log", None)
    return " ".join((f"{text}: {log[2]}" if log else str(text)).split())
