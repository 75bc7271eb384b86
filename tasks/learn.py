"""Learn from video without labels, or tune an encoder on the platform's own data, and judge what was learned."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from infra.errors import BadInput, Refused
from infra.settings import Settings
from models.alignment import Alignment, Views
from models.frame_sequence import FrameSequence
from models.protocol import Diverged
from tasks import paths
from tasks.bootstrap import paired_bootstrap
from tasks.clips import Clip, Parts, load_clips, split_in_time
from tasks.encoded import CATALOGUE
from tasks.learn_checks import failed, judge_next_frames, judge_views, verdict
from tasks.learn_job import Job, NothingToLearn
from tasks.learn_measures import measure_next_frames, measure_views
from tasks.learn_tuned import learn_tuned_frames, learn_tuned_text
from tasks.params import Text, load_params
from tasks.stage import new_folder, stage, write_json

CHECKPOINTS = Path(".checkpoints")
RESAMPLES = 2000

log = logging.getLogger(__name__)


def learn(name: str, job: Job, metrics: Path) -> dict[str, Any]:
    """Train the learner `name`, save it in `job.out`, judge it, and write what came of it to the file `metrics`.

    Where there is nothing to learn from (no clips, categories or pairs), `job.out` stays empty and the verdict says so:
    a catalogue without media is no fault.

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
    new_folder(job.out)
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


LEARNERS: Mapping[str, Callable[[Job], dict[str, Any]]] = {
    "frame-sequence": learn_frame_sequence,
    "alignment": learn_alignment,
    "tuned-text": learn_tuned_text,
    "tuned-frames": learn_tuned_frames,
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


def main(name: str) -> None:
    """The DVC stage of the learner `name`."""
    params = load_params(Path("params.yaml"))
    job = Job(
        clips=paths.CLIPS,
        catalogue=paths.ENCODED / CATALOGUE,
        prepared=paths.PREPARED,
        out=paths.LEARNED / name,
        params=params.learn,
        text=params.encode.text or Text(),
        frames=params.encode.media.frames,
        seed=params.seed,
        checkpoints=CHECKPOINTS / f"learn-{name}",
        cache=Settings().home_dir / "encoders",
    )
    learn(name, job, paths.LEARN_METRICS / f"{name}.json")


if __name__ == "__main__":
    stage(main)
