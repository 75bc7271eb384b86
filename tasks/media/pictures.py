"""Decoded pictures as arrays: square for encoders, in their own shape as stills, upright both."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.media.decoded import SIDE

THUMBNAIL = 64
STILL = 720


def thumbnail(frame: Any) -> NDArray[np.uint8]:
    """`[64, 64, 3]` RGB of a PyAV frame, distorted: only its colours count."""
    return np.asarray(frame.to_ndarray(format="rgb24", width=THUMBNAIL, height=THUMBNAIL, interpolation="AREA"))


def square(frame: Any, *, aspect: float) -> NDArray[np.uint8]:
    """The centre of a PyAV frame as `[224, 224, 3]` uint8 RGB, upright.

    A crop rather than a letterbox: image networks were trained on centre crops, and black bars would dominate the
    spectrum and the colours of low-level features. What lies outside is still in the stills, which OCR reads.

    Args:
        frame: as decoded.
        aspect: width of one of its pixels over its height.
    """
    side = min(frame.width * aspect, frame.height)
    left, top = (frame.width - side / aspect) / 2, (frame.height - side) / 2
    box = (left, top, frame.width - left, frame.height - top)
    return _turned(_image(frame).resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box), frame)


def still(frame: Any, *, aspect: float) -> NDArray[np.uint8]:
    """A PyAV frame in its own shape, `[height, width, 3]` uint8 RGB, upright, at most 720 pixels on its longer side."""
    width, height = frame.width * aspect, frame.height
    scale = min(1.0, STILL / max(width, height))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return _turned(_image(frame).resize(size, Image.Resampling.BICUBIC), frame)


def _image(frame: Any) -> Image.Image:
    return Image.fromarray(np.asarray(frame.to_ndarray(format="rgb24")))


def _turned(image: Image.Image, frame: Any) -> NDArray[np.uint8]:
    """`image` as the display matrix of `frame` has it shown; PyAV counts degrees counter-clockwise."""
    return np.ascontiguousarray(np.rot90(np.asarray(image), round(frame.rotation / 90)))


def pixel_aspect(stream: Any) -> float:
    """Width of a stream's pixels over their height; 1 where the file does not say or says nonsense."""
    aspect = stream.codec_context.sample_aspect_ratio or 1
    return float(aspect) if 0.1 <= aspect <= 10 else 1.0
