"""Learn from video without labels, or tune an encoder on the catalogue's categories, and judge what was learned."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import polars as pl

from infra.errors import BadInput, Refused
from infra.settings import Settings
from models.alignment import Alignment, Views
from models.checkpoint import Checkpoint
from models.classification import accuracy, macro_f1
from models.encoders.text import TextEncoder, open_text_encoder
from models.frame_sequence import FrameSequence
from models.learning import learning_key
from models.params import Learn
from models.protocol import Diverged
from models.tuning import Labelled, Split, Tuned, save_encoder, split_by_key, tune
from tasks import paths
from tasks.bootstrap import paired_bootstrap
from tasks.clips import Clip, Parts, load_clips, split_in_time
from tasks.encoded import CATALOGUE
from tasks.learn_checks import failed, judge_next_frames, judge_tuned, judge_views, verdict
from tasks.learn_measures import measure_next_frames, measure_views
from tasks.params import Text, load_params
from tasks.stage import stage, write_json

CHECKPOINTS = Path(".checkpoints")
RESAMPLES = 2000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What one learner is given.

    Attributes:
        clips: folder of what `tasks.cut_clips` left.
        catalogue: Parquet file of all videos.
        out: folder for weights and config.
        params: of all learners.
        text: of the text encoder that is tuned.
        seed: of every draw.
        checkpoints: folder of the training's state; None keeps none.
        cache: folder of unpacked encoder weights.
    """

    clips: Path
    catalogue: Path
    out: Path
    params: Learn
    text: Text
    seed: int
    checkpoints: Path | None
    cache: Path

    def checkpoint(self, name: str, data: object) -> Checkpoint | None:
        """The state of the training of `name` on `data`."""
        if self.checkpoints is None:
            return None
        told = self.params.model_dump(mode="json") | {"text": self.text.model_dump(mode="json"), "seed": self.seed}
        return Checkpoint(self.checkpoints, learning_key(name, told, data))


def learn(name: str, job: Job, metrics: Path) -> dict[str, Any]:
    """Train the learner `name`, save it in `job.out`, judge it, and write what came of it to the file `metrics`.

    Where there is nothing to learn from (no clips, no categories), `job.out` stays empty and the verdict says so: a
    catalogue without media is no fault.

    Args:
        name: one of `LEARNERS`.
        job: inputs and parameters.
        metrics: JSON file: measure and baseline, checks, `passed`, seconds, device, software, metrics by epoch.

    Returns:
        What `metrics` holds.

    Raises:
        BadInput: `name` is no learner, or what it reads is broken.
        Refused: the training diverged or ran out of memory.
    """
    if name not in LEARNERS:
        raise BadInput(f"A learner is one of {', '.join(LEARNERS)}. Received: {name}")
    began = time.perf_counter()
    rmtree(job.out, ignore_errors=True)
    job.out.mkdir(parents=True)
    try:
        figures = LEARNERS[name](job)
    except (Diverged, MemoryError) as error:
        _forget(job)
        raise Refused(f"learner {name} failed: {error or 'out of memory'}") from error
    except NothingToLearn as nothing:
        figures = verdict([failed("data", str(nothing))])
    figures |= {"learner": name, "seed": job.seed, "seconds": round(time.perf_counter() - began, 3)}
    write_json(metrics, figures)
    _forget(job)
    log.info("%s %s in %.1f s", name, "passed" if figures["passed"] else "did not pass", figures["seconds"])
    return figures


class NothingToLearn(ValueError):
    """There are too few clips or categories. The message says which."""


def _forget(job: Job) -> None:
    if job.checkpoints is not None:
        rmtree(job.checkpoints, ignore_errors=True)


def learn_frame_sequence(job: Job) -> dict[str, Any]:
    """Next frame from those before, on every clip's first part."""
    parts = _parts(job)
    train, valid, held_out = ([getattr(part, name).features for part in parts] for name in Parts.__annotations__)
    model = FrameSequence(job.params.frame_sequence)
    with _enough():
        facts = model.fit(train, valid, seed=job.seed, checkpoint=job.checkpoint("frame-sequence", train))
        told = measure_next_frames(model, train, held_out)
    model.save(job.out)
    ours, theirs = told.blocks.T
    interval = paired_bootstrap(ours, theirs, confidence=0.95, resamples=RESAMPLES, seed=job.seed)
    bounds = {"mse_difference": {"mean": interval.mean, "low": interval.low, "high": interval.high}}
    sides = dict(told.figures)
    measure = {"measure": sides.pop("model") | bounds, "baseline": sides, "digest": model.digest}
    return measure | judge_next_frames(told.figures, (interval.low, interval.high)) | facts


def learn_alignment(job: Job) -> dict[str, Any]:
    """Views of one moment meet."""
    parts = _parts(job)
    train, valid, held_out = ([views_of(part, name) for part in parts] for name in Parts.__annotations__)
    model = Alignment(job.params.alignment)
    with _enough():
        kept = job.checkpoint("alignment", [clip.frames for clip in train])
        facts = model.fit(train, valid, seed=job.seed, checkpoint=kept)
        told = measure_views(model, held_out)
    model.save(job.out)
    measure = {kind: sides["model"] for kind, sides in told.items()}
    baseline = {kind: sides.get("features", sides.get("chance")) for kind, sides in told.items()}
    return {"measure": measure, "baseline": baseline, "digest": model.digest} | judge_views(told) | facts


def learn_tuned_text(job: Job) -> dict[str, Any]:
    """The text encoder goes on with the catalogue's categories; the pretrained one with a head of its own beside it."""
    params = job.params.tuned_text
    encoder = _encoder(job, job.text.model)
    split, names = _labelled(job)
    pretrained = tune(
        encoder, split, categories=len(names), params=params.model_copy(update={"mode": "frozen"}), seed=job.seed
    )
    kept = job.checkpoint("tuned-text", [split.train.labels, split.train.texts])
    tuned = tune(encoder, split, categories=len(names), params=params, seed=job.seed, checkpoint=kept)
    save_encoder(job.out, source=encoder.folder.path, tuned=tuned)
    ours = _encoder(job, str(job.out))
    vectors = ours.encode(split.held_out.texts)
    measure = _scores(tuned, vectors, split.held_out)
    baseline = _scores(pretrained, encoder.encode(split.held_out.texts), split.held_out)
    judged = judge_tuned(measure, baseline, vectors=vectors, dim=encoder.dim, margin=params.margin)
    told = {"measure": measure, "baseline": {"pretrained": baseline}, "digest": ours.digest, "categories": names}
    return told | judged | tuned.facts


LEARNERS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "frame-sequence": learn_frame_sequence,
    "alignment": learn_alignment,
    "tuned-text": learn_tuned_text,
}


@contextmanager
def _enough() -> Iterator[None]:
    """Learners and measures refuse clips that are too few or too short for their windows."""
    try:
        yield
    except ValueError as error:
        raise NothingToLearn(str(error)) from error


def _parts(job: Job) -> list[Parts]:
    clips = load_clips(job.clips)
    if not clips:
        raise NothingToLearn("The catalogue has no clips whose frames were encoded")
    params = job.params.clips
    return [
        split_in_time(clip, held_out=params.held_out, valid=params.valid, gap=params.gap) for clip in clips.values()
    ]


def views_of(parts: Parts, name: str) -> Views:
    """Whole frames and crops of the part `name` of a clip.

    The last crop judges and the last but one stops, so that neither is of a crop that training knows. A clip with
    fewer than three has all of them in each part.
    """
    clip: Clip = getattr(parts, name)
    crops = len(clip.views)
    mine = {"train": slice(0, -2), "valid": slice(-2, -1), "held_out": slice(0, crops)}[name]
    return Views(np.concatenate([clip.features[None], clip.views[mine if crops > 2 else slice(0, crops)]]), clip.sound)


def _encoder(job: Job, model: str) -> TextEncoder:
    try:
        return open_text_encoder(model, prefix=job.text.prefix, max_tokens=job.text.max_tokens, cache=job.cache)
    except ValueError as error:
        raise BadInput(str(error)) from error


def _labelled(job: Job) -> tuple[Split, list[str]]:
    """Titles and tags of the videos that have a category, and the categories with enough of them, by number."""
    rows = pl.read_parquet(job.catalogue)
    if not {"title", "category"} <= set(rows.columns):
        raise NothingToLearn("The catalogue has no titles with categories")
    texts = rows.select(pl.col("video_id").cast(pl.String), pl.col("category").cast(pl.String), text=_text(rows))
    texts = texts.filter(pl.col("category").is_not_null(), pl.col("text").str.strip_chars() != "").sort("video_id")
    params = job.params.tuned_text
    texts = texts.filter(pl.len().over("category") >= params.min_texts)
    names = sorted(texts["category"].unique())
    if len(names) < 2:
        raise NothingToLearn(f"Two categories must have {params.min_texts} texts each. Received: {len(names)}")
    labels = np.searchsorted(np.array(names), texts["category"].to_numpy()).astype(np.int32)
    data = Labelled(texts["text"].to_list(), labels)
    split = split_by_key(data, texts["video_id"], valid=params.valid, held_out=params.held_out)
    if not all(len(part.texts) for part in (split.train, split.valid, split.held_out)):
        raise NothingToLearn(f"Too few texts for three parts. Received: {texts.height}")
    return split, names


def _text(rows: pl.DataFrame) -> pl.Expr:
    """Title, then tags; a text without either is empty."""
    parts = [pl.col("title").cast(pl.String)]
    if "tags" in rows.columns:
        tags = pl.col("tags")
        parts.append(tags.list.join(" ") if rows["tags"].dtype.is_nested() else tags.cast(pl.String))
    return pl.concat_str(parts, separator=" ", ignore_nulls=True)


def _scores(tuned: Tuned, vectors: np.ndarray[Any, np.dtype[np.float32]], held_out: Labelled) -> dict[str, float]:
    told = tuned.predict(vectors)
    found = {"macro_f1": macro_f1(held_out.labels, told), "accuracy": accuracy(held_out.labels, told)}
    return found | {"texts": float(len(held_out.texts))}


def main(name: str) -> None:
    """The DVC stage of the learner `name`."""
    params = load_params(Path("params.yaml"))
    job = Job(
        clips=paths.CLIPS,
        catalogue=paths.ENCODED / CATALOGUE,
        out=paths.LEARNED / name,
        params=params.learn,
        text=params.encode.text or Text(),
        seed=params.seed,
        checkpoints=CHECKPOINTS / f"learn-{name}",
        cache=Settings().home_dir / "encoders",
    )
    learn(name, job, paths.LEARN_METRICS / f"{name}.json")


if __name__ == "__main__":
    stage(main)
