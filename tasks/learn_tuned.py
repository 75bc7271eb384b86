"""The learners that tune a pretrained encoder: what it reads of the catalogue, on which task, and what came of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import BadInput
from models.encoders.text import TextEncoder, open_text_encoder
from models.params import TunedParams
from models.tuned_text import Texts, save_text_encoder
from models.tuning import Examples, Goal, Material, Rows, Tuned, Vectors, tune
from tasks.cut_clips import PICTURES
from tasks.learn_category import ByCategory
from tasks.learn_job import Job, NothingToLearn
from tasks.learn_watch import ByWatching
from tasks.schema import Videos

TEXT = "text"


class Task(Protocol):
    """What an encoder is tuned on."""

    @property
    def rows(self) -> pl.DataFrame:
        """The videos that it is about."""

    @property
    def goal(self) -> Goal:
        """What is learnt, of `rows`."""

    @property
    def held_out(self) -> Rows:
        """Of `rows`: who judges."""

    def judge(self, tuned: Tuned, vectors: Vectors, material: Material, *, margin: float) -> dict[str, Any]:
        """Figures and verdict.

        Args:
            tuned: the heads that it and the pretrained encoder are judged under.
            vectors: of the held-out videos, by the tuned encoder as it was opened again.
            material: all videos under the pretrained encoder.
            margin: the least by which it is to be better.
        """


def learn_tuned_text(job: Job) -> dict[str, Any]:
    """The text encoder goes on with the catalogue's titles and tags."""
    params = job.params.tuned_text
    task = _task(job, _texts(job), params, what="titles", least=params.min_texts)
    encoder = _text_encoder(job, job.text.model, prefix=job.text.prefix)
    texts = task.rows[TEXT].to_list()
    material = Texts(encoder, texts, max_tokens=params.max_tokens)
    tuned = _tuned(job, "tuned-text", task, material, params, data=[encoder.digest, texts])
    save_text_encoder(job.out, source=encoder.folder.path, tuned=tuned)
    ours = _text_encoder(job, str(job.out), prefix=encoder.prefix)  # which `e5` brings, and a folder does not
    vectors = Texts(ours, texts, max_tokens=params.max_tokens).vectors(task.held_out)
    told = {"digest": ours.digest, "prefix": encoder.prefix}
    return _judged(job, task, tuned, vectors, material, params) | told


def learn_tuned_frames(job: Job) -> dict[str, Any]:
    """The frame encoder goes on with a few pictures of each video."""
    from models.encoders.frames import open_frame_encoder
    from models.tuned_frames import Films, save_frame_encoder

    params = job.params.tuned_frames
    if job.frames is None:
        raise NothingToLearn("There is no frame encoder: encode.media.frames is null")
    task = _task(job, _filmed(job), params, what="pictures", least=params.min_videos)
    contents = task.rows[Videos.MEDIA_DIGEST].to_list()

    def read(row: int) -> NDArray[np.uint8]:
        return _pictures(job.clips / PICTURES / f"{contents[row]}.npy")

    with _opening():
        encoder = open_frame_encoder(job.frames)
        material = Films(encoder, job.frames, read, n=len(contents), drawn=params.drawn)
    tuned = _tuned(job, "tuned-frames", task, material, params, data=[encoder.digest, contents])
    path = str(save_frame_encoder(job.out, model=job.frames, tuned=tuned))
    ours = open_frame_encoder(path)
    vectors = Films(ours, path, read, n=len(contents), drawn=1).vectors(task.held_out)
    return _judged(job, task, tuned, vectors, material, params) | {"digest": ours.digest}


def _task(job: Job, rows: pl.DataFrame, params: TunedParams, *, what: str, least: int) -> Task:
    if params.task == "watch":
        return ByWatching.of(rows, job.prepared, what=what, params=params, seed=job.seed)
    return ByCategory.of(rows, what=what, least=least, params=params)


def _tuned(job: Job, name: str, task: Task, material: Material, params: TunedParams, *, data: list[Any]) -> Tuned:
    asked = [_arrays(examples) for examples in (task.goal.train, task.goal.valid)]
    checkpoint = job.checkpoint(name, [*data, *asked])
    with _opening(f"learn.{name.replace('-', '_')}: "):
        return tune(material, task.goal, params=params, seed=job.seed, checkpoint=checkpoint)


def _arrays(examples: Examples) -> list[NDArray[Any]]:
    return [*examples.sides.values(), *examples.told.values()]


def _judged(
    job: Job, task: Task, tuned: Tuned, vectors: Vectors, material: Material, params: TunedParams
) -> dict[str, Any]:
    tuned.save_head(job.out)
    judged = task.judge(tuned, vectors, material, margin=params.margin)
    return {"task": params.task, "mode": params.mode} | judged | tuned.facts


def _catalogue(job: Job) -> pl.DataFrame:
    """All videos, ids and categories as text, by id."""
    rows = pl.read_parquet(job.catalogue)
    named = [name for name in (Videos.ID, Videos.CATEGORY) if name in rows.columns]
    return rows.with_columns(pl.col(named).cast(pl.String)).sort(Videos.ID)


def _texts(job: Job) -> pl.DataFrame:
    """The videos with a title or tags, as `text`."""
    rows = _catalogue(job)
    if Videos.TITLE not in rows.columns:
        return rows.clear()
    return rows.with_columns(_text(rows)).filter(pl.col(TEXT).str.strip_chars() != "")


def _text(rows: pl.DataFrame) -> pl.Expr:
    """Title, then tags; a text without either is empty."""
    parts = [pl.col(Videos.TITLE).cast(pl.String)]
    if Videos.TAGS in rows.columns:
        tags = pl.col(Videos.TAGS)
        parts.append(tags.list.join(" ") if rows[Videos.TAGS].dtype.is_nested() else tags.cast(pl.String))
    return pl.concat_str(parts, separator=" ", ignore_nulls=True).alias(TEXT)


def _filmed(job: Job) -> pl.DataFrame:
    """The videos with pictures. Of several with the same file the first: the others would be known to who judges."""
    rows = _catalogue(job)
    if Videos.MEDIA_DIGEST not in rows.columns:
        return rows.clear()
    there = [path.stem for path in (job.clips / PICTURES).glob("*.npy")]
    rows = rows.filter(pl.col(Videos.MEDIA_DIGEST).is_in(there))
    return rows.unique(Videos.MEDIA_DIGEST, keep="first", maintain_order=True)


def _pictures(path: Path) -> NDArray[np.uint8]:
    """`[n, height, width, 3]`, memory-mapped."""
    try:
        pictures: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} must hold pictures as an array. Received: {error}") from error
    return pictures


def _text_encoder(job: Job, model: str, *, prefix: str) -> TextEncoder:
    with _opening():
        return open_text_encoder(model, prefix=prefix, max_tokens=job.text.max_tokens, cache=job.cache)


@contextmanager
def _opening(name: str = "") -> Iterator[None]:
    """What an encoder's files or a network refuse is a fault of the parameters."""
    try:
        yield
    except ValueError as error:
        raise BadInput(f"{name}{error}") from error
