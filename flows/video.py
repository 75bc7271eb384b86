"""What is known of one video: its catalogue row, its tags, and the notes that were taken on its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from flows.live import Live
from infra.disk import make_folder
from infra.errors import BadInput
from tasks import paths
from tasks.media.notes import THUMBNAILS, read_notes
from tasks.media.summary import shortened
from tasks.prepare import FIRST_SEEN, TRAIN_EVENTS
from tasks.schema import Videos

OWN = (Videos.NOTES, Videos.MEDIA_DIGEST, FIRST_SEEN)


def describe_video(live: Live, video: str) -> dict[str, Any]:
    """The video with the id `video` as the live release has it.

    Returns:
        `video`: its catalogue row; `tags`: with scores, best first; `notes`: title, summary, key frames with the paths
        of their thumbnails on this machine, speech and on-screen text; None where no file was looked at.

    Raises:
        BadInput: the live release does not know the video.
    """
    _, bundle = live.bundle()
    rows = bundle.vocabulary.filter(pl.col(Videos.ID).cast(pl.String) == video)
    if rows.is_empty():
        raise BadInput(f"The live release of {live.name} has no such video. Received: {video!r}")
    row = rows.row(0, named=True)
    told = {name: value for name, value in row.items() if value is not None and name not in OWN}
    told["watched"] = told.pop(TRAIN_EVENTS, 0)
    notes = read_notes(live.books.store, row[Videos.NOTES]) if row.get(Videos.NOTES) else None
    shown = notes and _with_thumbnails(live, notes, title=row.get(Videos.TITLE))
    return {"video": told, "tags": _tags(bundle.folder / paths.TAGS.name, video), "notes": shown}


def _tags(table: Path, video: str) -> list[dict[str, Any]]:
    if not table.exists():
        return []
    own = pl.scan_parquet(table).filter(pl.col(Videos.ID).cast(pl.String) == video)
    return own.sort("score", descending=True).drop(Videos.ID).collect().to_dicts()


def _with_thumbnails(live: Live, notes: Mapping[str, Any], *, title: str | None) -> dict[str, Any]:
    folder = live.settings.home_dir / "thumbnails"
    make_folder(folder)
    frames = [frame | {"thumbnail": str(_brought(live, frame["thumbnail"], folder))} for frame in notes["key_frames"]]
    return {**notes, "title": (title and shortened(title)) or notes["title"], "key_frames": frames}


def _brought(live: Live, name: str, folder: Path) -> Path:
    path = folder / name
    if not path.exists():
        live.books.store.download(f"{THUMBNAILS}{name}", path)
    return path
