"""How much one media file may ask of this machine, and what is said of one that cannot be used."""

from dataclasses import dataclass

MAX_PIXELS = 8192 * 4320
MEMORY = 3 * 2**30


class Undecodable(ValueError):
    """A media file that gives neither frames nor sound. The message is one sentence that names the file and why."""


class OutOfTime(Undecodable):
    """It took too long: on a quieter machine it may not."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decoding one file may take.

    Attributes:
        frames_per_video: frames that are kept, at most.
        max_seconds: what lies behind that is not looked at.
        time_limit: seconds of wall clock after which the decoding process is killed.
        max_pixels: a larger picture is refused before it is decoded.
        memory: bytes of address space of the decoding process.
    """

    frames_per_video: int = 32
    max_seconds: float = 600.0
    time_limit: float = 120.0
    max_pixels: int = MAX_PIXELS
    memory: int = MEMORY

    def __post_init__(self) -> None:
        for name in ("frames_per_video", "max_seconds", "time_limit", "max_pixels", "memory"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0. Received: {getattr(self, name)!r}")
