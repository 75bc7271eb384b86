"""What learners see of the catalogue's media: clips at an even rate, whole and cropped, and a few pictures of each."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from infra.console import track
from tasks.clips import Features, Frames, few_pictures, make_clip
from tasks.encoded import Encoded
from tasks.media.sources import MediaSource
from tasks.params import Params
from tasks.schema import Videos
from tasks.stage import new_folder

# The learners that need clips, those that need pictures, and all of them.
OF_CLIPS = frozenset({"frame-sequence", "alignment"})
OF_PICTURES = frozenset({"tuned-frames"})
FROM_CLIPS = OF_CLIPS | OF_PICTURES
PICTURES = "pictures"

Cut = Callable[[Path, str], None]

log = logging.getLogger(__name__)


def cut_clips(encoded: Encoded, source: MediaSource | None, out: Path, *, params: Params) -> int:
    """Write what `params.learners` need of each file that has frames, and return how many files gave it.

    That is `out/CONTENT.npz` (`tasks.clips.Clip`) and `out/pictures/CONTENT.npy`, `[pictures, 224, 224, 3]` uint8.
    `out` is made anew. A file that cannot be decoded is left out: `encode` has told of it.
    """
    new_folder(out)
    catalogue = encoded.catalogue
    if source is None or Videos.MEDIA_DIGEST not in catalogue.columns or params.encode.media.frames is None:
        return 0
    rows = catalogue.select(Videos.MEDIA_DIGEST, Videos.MEDIA).drop_nulls().unique(Videos.MEDIA_DIGEST)
    cuts = _cuts(out, params, params.encode.media.frames)
    made = 0
    for content, name in track(rows.sort(Videos.MEDIA_DIGEST).rows(), label="Cutting clips", total=rows.height):
        try:
            with source.opened(name) as path:
                for cut in cuts:
                    cut(path, content)
        except (ValueError, OSError) as error:
            log.warning("%s gives no clip: %s", name, error)
            continue
        made += 1
    return made


def _cuts(out: Path, params: Params, model: str) -> list[Cut]:
    """What is to be done with each file."""
    asked, cuts = set(params.learners), list[Cut]()
    if asked & OF_CLIPS:
        from models.encoders.frames import open_frame_encoder

        cuts.append(_clip(out, params, open_frame_encoder(model).encode))
    if asked & OF_PICTURES:
        (out / PICTURES).mkdir()
        cuts.append(_pictures(out / PICTURES, params))
    return cuts


def _clip(out: Path, params: Params, encode: Callable[[Frames], Features]) -> Cut:
    told, limits = params.learn.clips, params.encode.media.limits

    def cut(path: Path, content: str) -> None:
        clip = make_clip(path, encode=encode, fps=told.fps, views=told.views, seed=params.seed, limits=limits)
        clip.save(out / f"{content}.npz")

    return cut


def _pictures(out: Path, params: Params) -> Cut:
    n, limits = params.learn.tuned_frames.pictures, params.encode.media.limits

    def cut(path: Path, content: str) -> None:
        np.save(out / f"{content}.npy", few_pictures(path, n=n, limits=limits), allow_pickle=False)

    return cut
