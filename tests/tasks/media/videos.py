"""Small real media files, encoded when a test asks for them."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 160, 60), (40, 40, 200), (128, 128, 128)
Painter = Callable[[int], NDArray[np.uint8]]


def plain(colour: Sequence[int], *, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def corner_marked(_: int) -> NDArray[np.uint8]:
    """Grey with a red upper left corner: which way is up can be read off."""
    picture = plain(GREY)
    picture[:48, :80] = RED
    return picture


def make_video(
    path: Path,
    paint: Painter,
    *,
    frames: int,
    rate: int = 10,
    moments: Sequence[float] | None = None,
    rotation: int = 0,
    sound: float = 0.0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode `frames` pictures, at `moments` (seconds) where given; with a tone of `sound` seconds."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        first = paint(0)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        tone = container.add_stream("aac", rate=44_100, layout="stereo") if sound else None
        for at in range(frames):
            frame = av.VideoFrame.from_ndarray(paint(at), format="rgb24")
            frame.pts = round(1000 * (moments[at] if moments else at / rate))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            write_tone(container, tone, seconds=sound)
    return path


def write_tone(container: "av.container.OutputContainer", stream: "av.AudioStream", *, seconds: float) -> None:
    """A tone of 440 Hz at half of full scale."""
    samples = np.arange(int(seconds * 44_100))
    wave = (0.5 * np.sin(2 * np.pi * 440 * samples / 44_100)).astype(np.float32)
    for start in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(np.stack([wave[start : start + 1024]] * 2), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, start, Fraction(1, 44_100)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def make_sound(path: Path, *, seconds: float) -> Path:
    with av.open(str(path), "w") as container:
        write_tone(container, container.add_stream("aac", rate=44_100, layout="stereo"), seconds=seconds)
    return path


def repeat_picture(path: Path, picture: NDArray[np.uint8], *, times: int) -> Path:
    """One picture, encoded once as PNG, written `times` over: quick to make and slow to decode."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "rgb24"
        (packet,) = stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")) + stream.encode(None)
        content = bytes(packet)
        for at in range(times):
            again = av.Packet(content)
            again.stream, again.time_base, again.is_keyframe = stream, Fraction(1, 10), True
            again.pts = again.dts = at
            container.mux(again)
    return path
