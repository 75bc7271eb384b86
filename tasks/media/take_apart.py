"""One open media file as arrays in a folder: frames over the shots, a still of each, and sound."""

from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.media.decoded import RATE, SIDE
from tasks.media.limits import Limits, Undecodable
from tasks.media.opened import Opened, Trouble, opened, too_large
from tasks.media.pictures import pixel_aspect, square, still
from tasks.media.scan import Clock, Scan, revisit, scan, skim
from tasks.media.shots import representatives, shot_starts, spread
from tasks.media.sound import sound_of

CUT_SHORT = 1.0  # seconds that pictures may end before the file says they do


def take_apart(descriptor: int, *, limits: Limits, folder: Path) -> dict[str, Any]:
    """Write `frames`, `times`, `shots`, `still_times`, `still-000`... and `sound` as .npy files into `folder`.

    Returns:
        `seconds`, and `faults` as `Decoded` has them.

    Raises:
        Undecodable: there is neither a picture nor sound that can be decoded.
    """
    faults: dict[str, str] = {}
    with opened(descriptor, limits=limits) as source:
        claimed = (source.container.duration or 0) / 1e6
        pictures, sound = source.picture is not None, source.sound is not None
    end = _take_pictures(descriptor, limits, folder, faults) if pictures else 0.0
    if not pictures:
        faults["frames"] = "it holds no pictures"
    samples = _take_sound(descriptor, limits, folder, faults) if sound else 0
    if not end and not samples:
        raise Undecodable("; ".join(faults.values()))
    return {"seconds": claimed if claimed > 0 else max(end, samples / RATE), "faults": faults}


def _take_pictures(descriptor: int, limits: Limits, folder: Path, faults: dict[str, str]) -> float:
    """Both looks at the pictures. Returns when the last one ends; 0 where there is none."""
    with opened(descriptor, limits=limits) as source:
        skim(source)
        clock = Clock(source.picture)
        found = scan(source, clock, max_seconds=limits.max_seconds)
        fault = _fault_of_pictures(source, found, limits)
    if fault:
        faults["frames"] = fault
    if not found.times:
        return 0.0
    histograms = np.stack(found.histograms)
    starts = shot_starts(histograms, at_most=limits.frames_per_video)
    kept, shots = spread(starts, samples=len(histograms), at_most=limits.frames_per_video)
    shown = representatives(histograms, starts)
    times = np.array(found.times)
    _save(folder, times=times[kept], shots=shots, still_times=times[shown])
    _keep(descriptor, clock, found, limits, folder, kept=kept, shown=shown)
    return found.end


def _keep(
    descriptor: int,
    clock: Clock,
    found: Scan,
    limits: Limits,
    folder: Path,
    *,
    kept: NDArray[np.int64],
    shown: NDArray[np.int64],
) -> None:
    """Decode again what was chosen: by seeking, or from the start where the container leads elsewhere than asked."""
    for keys in (found.keys, []):
        try:
            _write(descriptor, clock, found, keys, limits, folder, kept=kept, shown=shown)
        except LookupError:
            continue
        return
    raise Undecodable("its pictures are not the same when they are read again")


def _write(
    descriptor: int,
    clock: Clock,
    found: Scan,
    keys: list[float],
    limits: Limits,
    folder: Path,
    *,
    kept: NDArray[np.int64],
    shown: NDArray[np.int64],
) -> None:
    squares = np.zeros((len(kept), SIDE, SIDE, 3), np.uint8)
    chosen = np.union1d(kept, shown)
    with opened(descriptor, limits=limits) as source:
        skim(source)
        aspect = pixel_aspect(source.picture)
        frames = revisit(source, clock, [found.times[sample] for sample in chosen], keys)
        for sample, frame in zip(chosen, frames, strict=True):
            squares[kept == sample] = square(frame, aspect=aspect) if sample in kept else 0
            for shot in np.flatnonzero(shown == sample):
                _save(folder, **{f"still-{shot:06d}": still(frame, aspect=aspect)})
    _save(folder, frames=squares)


def _take_sound(descriptor: int, limits: Limits, folder: Path, faults: dict[str, str]) -> int:
    """Returns how many samples there are."""
    with opened(descriptor, limits=limits) as source:
        samples = sound_of(source, max_seconds=limits.max_seconds)
        if source.trouble.lost:
            faults["sound"] = source.trouble.sentence()
    if len(samples):
        _save(folder, sound=samples)
    else:
        faults.setdefault("sound", "its sound is empty")
    return len(samples)


def _fault_of_pictures(source: Opened, found: Scan, limits: Limits) -> str:
    """What is wrong with the pictures, in a few words; empty where nothing is."""
    trouble: Trouble = source.trouble
    if not found.times:
        return too_large(trouble.reason, limits) or (trouble.sentence() if trouble.lost else "it holds no pictures")
    stream = source.picture
    claimed = float(stream.duration * stream.time_base) if stream.duration else 0.0
    faults = [trouble.sentence()] if trouble.lost else []
    if found.whole and isfinite(claimed) and found.end < claimed - CUT_SHORT:
        faults.append(f"pictures end after {found.end:.1f} of {claimed:.1f} seconds")
    return "; ".join(faults)


def _save(folder: Path, **arrays: NDArray[Any]) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
