"""What learners on video are measured by, on parts of clips that they never saw, beside what needs no learning."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from models.alignment import Alignment, Retrieval, Views, retrieval
from models.components import Features, unit
from models.frame_sequence import FrameSequence, windows

Floats = NDArray[np.float64]
Figures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class NextFrames:
    """The frame after each held-out window, as the model and as copying the last frame has it.

    Attributes:
        figures: by who says it (`model`, `copy-last`, `window-mean`): `mse` in the model's space, `cosine` with the
            true unit feature, `top1` and `perplexity` over the codebook. `copy-last` gives the last code the chance
            that it has of coming again in training, and the others an equal part of the rest.
        blocks: `[blocks, 2]`, the squared errors of model and copy, averaged over windows that share frames.
    """

    figures: Figures
    blocks: Floats


def measure_next_frames(model: FrameSequence, train: Sequence[Features], held_out: Sequence[Features]) -> NextFrames:
    """Hold `model` against copying.

    Args:
        model: fitted on `train`.
        train, held_out: sequences `[n, features]`; those shorter than a window and a frame are passed over.

    Raises:
        ValueError: all are.
    """
    length, stride = model.params.window + 1, model.params.stride
    each = [windows([frames], length=length, stride=stride) for frames in held_out if _is_long(frames, length, stride)]
    if not each:
        raise ValueError(f"Held-out clips must have {(length - 1) * stride + 1} frames. Received: none that long")
    whole = np.concatenate(each)
    seen, wanted = whole[:, :-1], whole[:, -1]
    told, last, true = model.predict(seen), model.points(seen[:, -1]), model.points(wanted)
    codes, stays = model.codes(true), _staying(model, train)
    chances = told.probabilities[np.arange(len(codes)), codes].astype(np.float64)
    copied = model.codes(last) == codes
    of_copy = np.where(copied, stays, (1 - stays) / (model.params.codes - 1))
    mean = model.points(unit(seen)).mean(axis=1)
    mean_features = unit(unit(seen).mean(axis=1))
    figures = {
        "model": _said(told.points, told.features, told.probabilities.argmax(axis=1) == codes, chances, true, wanted),
        "copy-last": _said(last, seen[:, -1], copied, of_copy, true, wanted),
        "window-mean": _regressed(mean, mean_features, true, wanted),
    }
    errors = np.stack([np.square(points - true).mean(axis=1) for points in (told.points, last)], axis=1)
    return NextFrames(figures, _blocks(errors, [len(windows_) for windows_ in each], length * stride))


def _is_long(frames: Features, length: int, stride: int) -> bool:
    return len(frames) > (length - 1) * stride


def _staying(model: FrameSequence, train: Sequence[Features]) -> float:
    """How often a training frame's code comes again a step later, kept off 0 and 1."""
    stride = model.params.stride
    codes = [model.codes(model.points(frames)) for frames in train if len(frames) > stride]
    same = np.concatenate([told[:-stride] == told[stride:] for told in codes])
    return float((same.sum() + 1) / (len(same) + 2))


def _regressed(points: Features, features: Features, true: Features, wanted: Features) -> dict[str, float]:
    cosines = (unit(features) * unit(wanted)).sum(axis=1)
    return {"mse": float(np.square(points - true).mean()), "cosine": float(cosines.mean())}


def _said(
    points: Features, features: Features, hit: NDArray[np.bool_], chances: Floats, true: Features, wanted: Features
) -> dict[str, float]:
    perplexity = float(np.exp(-np.log(np.maximum(chances, 1e-12)).mean()))
    return _regressed(points, features, true, wanted) | {"top1": float(hit.mean()), "perplexity": perplexity}


def _blocks(errors: Floats, counts: Sequence[int], size: int) -> Floats:
    """Means of `size` windows in a row of one clip: neighbours share frames, and are no further evidence."""
    ends = np.cumsum(counts)
    return np.array(
        [
            errors[at : min(at + size, end)].mean(axis=0)
            for n, end in zip(counts, ends, strict=True)
            for at in range(end - n, end, size)
        ]
    )


def measure_views(model: Alignment, held_out: Sequence[Views]) -> dict[str, Figures]:
    """Retrieval of a held-out segment's other view among all segments' (`models.alignment.retrieval`).

    By kind of view: `known crop` (whole frames against the first crop, which training saw of other moments), `crop`
    (against the last, which it never saw), `speed` (every frame of the first half against every second of all), `crop
    and speed`, and `sound` where a clip has sound. By who says it: `model`, and `features`, the
    cosine of the mean of the frames' features as they come; for sound there is no such thing, and `chance` stands for
    it.

    Raises:
        ValueError: no clip is as long as a segment.
    """
    length = model.params.length
    cut = [(clip, at) for clip in held_out for at in range(0, clip.n - 2 * length + 1, 2 * length)]
    if not cut:
        raise ValueError(f"A held-out clip must have {2 * length} frames. Received: none that long")
    half, second = np.arange(length), np.arange(length) * 2

    def seen(view: int, frames: NDArray[np.int64]) -> Features:
        return np.stack([clip.frames[view, at + frames] for clip, at in cut])

    pairs = {
        "known crop": (seen(0, second), seen(1, second)),
        "crop": (seen(0, second), seen(-1, second)),
        "speed": (seen(0, half), seen(0, second)),
        "crop and speed": (seen(0, half), seen(-1, second)),
    }
    figures = {kind: _found(model, first, other) for kind, (first, other) in pairs.items()}
    return figures | _heard(model, cut)


def _found(model: Alignment, first: Features, other: Features) -> Figures:
    means = [unit(view).mean(axis=1) for view in (first, other)]
    return {
        "model": _numbers(retrieval(model.embed(first), model.embed(other))),
        "features": _numbers(retrieval(means[0], means[1])),
    }


def _heard(model: Alignment, cut: Sequence[tuple[Views, int]]) -> dict[str, Figures]:
    span = 2 * model.params.length
    rows = [
        (clip.frames[0, at : at + span : 2], clip.sound[at : at + span]) for clip, at in cut if clip.sound is not None
    ]
    if not rows:
        return {}
    frames, sound = (np.stack([row[part] for row in rows]) for part in range(2))
    n = len(rows)
    chance = Retrieval(1 / n, float(np.mean(1 / np.arange(1, n + 1))), 2 * n)
    said = retrieval(model.embed(frames), model.embed_sound(sound))
    return {"sound": {"model": _numbers(said), "chance": _numbers(chance)}}


def _numbers(found: Retrieval) -> dict[str, float]:
    return {name: float(value) for name, value in asdict(found).items()}
