"""What is perceived of a video: vectors of its pictures and its sound."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadInput
from tasks.media.decoded import Decoded
from tasks.params import Media

FORMAT = 1
PARTS = 3  # of a pooled vector: mean, maximum, change


@dataclass(frozen=True)
class Sense:
    """One modality.

    Attributes:
        name: of the modality.
        of: what of a video it needs.
        dim: length of its vectors.
        encoder: SHA-256 of weights, preprocessing, and of how frames are chosen.
        licence: of the weights.
        encode: the vector `[dim]` of a video that has frames, or sound.
    """

    name: str
    of: Literal["frames", "sound"]
    dim: int
    encoder: str
    licence: str
    encode: Callable[[Decoded], NDArray[np.float32]]

    def perceive(self, decoded: Decoded) -> NDArray[np.float32] | str:
        """The vector, or why there is none: `""` where the video is whole and has no such thing, as a silent film.

        A track of nothing but zeros is no sound either: all such videos would be each other's nearest.
        """
        heard = decoded.sound is not None and bool(decoded.sound.any())
        has = len(decoded.frames) > 0 if self.of == "frames" else heard
        return self.encode(decoded) if has else decoded.faults.get(self.of, "")


def senses(params: Media) -> list[Sense]:
    """Those of `params` whose packages are installed. Raises `BadInput` when a network cannot be opened."""
    chosen = hashlib.sha256(repr((FORMAT, params.frames_per_video, params.max_seconds)).encode()).hexdigest()
    found: list[Sense] = []
    if params.frames:
        found.append(_frames(params.frames, chosen))
    if params.low_level:
        found.append(_low_level(chosen))
    if params.audio:
        found += _audio(chosen)
    return found


def _frames(model: str, chosen: str) -> Sense:
    from models.encoders.frames import open_frame_encoder, pool

    try:
        encoder = open_frame_encoder(model)
    except ValueError as error:
        raise BadInput(f"encode.media.frames: {error}") from error

    def encode(decoded: Decoded) -> NDArray[np.float32]:
        return pool(encoder.encode(decoded.frames), decoded.times)

    return Sense("frames", "frames", PARTS * encoder.dim, _both(encoder.digest, chosen), encoder.licence, encode)


def _low_level(chosen: str) -> Sense:
    from models.encoders.low_level import LowLevel

    encoder = LowLevel()
    encoded = _both(encoder.digest, chosen)
    return Sense(
        "low_level", "frames", encoder.dim, encoded, encoder.licence, lambda of: encoder.encode([of.frames])[0]
    )


def _audio(chosen: str) -> list[Sense]:
    from models.encoders import musicnn

    if not musicnn.available():
        return []
    encoder = musicnn.open_sound_encoder()

    def encode(decoded: Decoded) -> NDArray[np.float32]:
        assert decoded.sound is not None
        vector: NDArray[np.float32] = encoder.encode([decoded.sound])[0]
        return vector

    return [Sense("audio", "sound", encoder.dim, _both(encoder.digest, chosen), encoder.licence, encode)]


def _both(digest: str, chosen: str) -> str:
    return hashlib.sha256(f"{digest}\n{chosen}".encode()).hexdigest()
