"""Clips for the learners on video: the media of the catalogue at an even rate, whole and cropped."""

import logging
import shutil
from pathlib import Path

from infra.console import track
from tasks.clips import make_clip
from tasks.encoded import Encoded
from tasks.media.sources import MediaSource
from tasks.params import Params
from tasks.schema import Videos

# The learners that need them.
FROM_CLIPS = frozenset({"frame-sequence", "alignment"})

log = logging.getLogger(__name__)


def cut_clips(encoded: Encoded, source: MediaSource | None, out: Path, *, params: Params) -> int:
    """Write `out/CONTENT.npz` for each file that has frames, and return how many there are; `out` is made anew.

    A file that cannot be decoded is left out: `encode` has told of it.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    catalogue = encoded.catalogue
    if source is None or Videos.MEDIA_DIGEST not in catalogue.columns or params.encode.media.frames is None:
        return 0
    rows = catalogue.select(Videos.MEDIA_DIGEST, Videos.MEDIA).drop_nulls().unique(Videos.MEDIA_DIGEST)
    from models.encoders.frames import open_frame_encoder

    encoder, media = open_frame_encoder(params.encode.media.frames), params.encode.media
    made = 0
    told = params.learn.clips
    for content, name in track(rows.sort(Videos.MEDIA_DIGEST).rows(), label="Cutting clips", total=rows.height):
        try:
            with source.opened(name) as path:
                clip = make_clip(
                    path, encode=encoder.encode, fps=told.fps, views=told.views, seed=params.seed, limits=media.limits
                )
        except (ValueError, OSError) as error:
            log.warning("%s gives no clip: %s", name, error)
            continue
        clip.save(out / f"{content}.npz")
        made += 1
    return made
