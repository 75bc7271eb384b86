"""Video files taken apart by a process of their own, so that a decoder that hangs or crashes costs one video."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.media.decoded import SIDE, Decoded
from tasks.media.limits import Limits, OutOfTime, Undecodable

__all__ = ["Limits", "Undecodable", "decode", "dense_frames"]

# -P: not the current folder's `tasks`, which may be those of a run's own checkout
COMMAND = (sys.executable, "-P", "-m", "tasks.media.worker")
ROOT = Path(__file__).parents[2]
GIVEN_UP = "decoding was given up"


def decode(path: Path, *, limits: Limits) -> Decoded:
    """Take one video apart.

    The same file and limits give the same bytes. Only `limits.frames_per_video` frames, their shots' stills and the
    sound are ever held; no whole video is.

    Args:
        path: a regular file, as `resolve_media` gives it.
        limits: what this may take.

    Raises:
        Undecodable: the file gives neither frames nor sound, or its decoder crashed, ran out of memory or of time.
    """
    with _answer(path, limits, job="decode") as (report, folder):
        arrays = {file.stem: np.load(file, allow_pickle=False) for file in sorted(folder.glob("*.npy"))}
    stills = tuple(array for name, array in arrays.items() if name.startswith("still-"))
    return Decoded(
        frames=arrays.get("frames", np.zeros((0, SIDE, SIDE, 3), np.uint8)),
        times=arrays.get("times", np.zeros(0)),
        shots=arrays.get("shots", np.zeros(0, np.int32)),
        stills=stills,
        still_times=arrays.get("still_times", np.zeros(0)),
        seconds=report["seconds"],
        sound=arrays.get("sound"),
        faults=report["faults"],
    )


def dense_frames(path: Path, *, fps: float, limits: Limits) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Frames at an even rate, for learning on clips.

    Args:
        path: a regular file.
        fps: frames a second; each is the picture on show at its moment, whatever the file's own rate.
        limits: `frames_per_video` does not count here: there are at most 4,096 frames.

    Returns:
        `[n, 224, 224, 3]` uint8 RGB and `[n]` float64 seconds, n at least 1.

    Raises:
        ValueError: `fps` is not above 0.
        Undecodable: there is no picture that can be decoded, or the decoder crashed, ran out of memory or of time.
    """
    if not fps > 0:
        raise ValueError(f"fps must be above 0. Received: {fps!r}")
    with _answer(path, limits, job="dense", fps=fps) as (report, folder):
        frames = np.fromfile(folder / "frames.raw", np.uint8).reshape(report["n"], SIDE, SIDE, 3)
    return frames, np.arange(len(frames)) / fps


@contextmanager
def _answer(path: Path, limits: Limits, **request: Any) -> Iterator[tuple[dict[str, Any], Path]]:
    """The worker's report on `path`, and the folder with its arrays, which goes afterwards."""
    with _regular(path) as descriptor, TemporaryDirectory(prefix="nightreel-media-") as folder:
        asked = request | {"descriptor": descriptor, "folder": folder, "limits": asdict(limits)}
        complaint = _work(json.dumps(asked), descriptor, limits, log=Path(folder, "stderr.txt"))
        answer = Path(folder, "report.json")
        report = json.loads(answer.read_text(encoding="utf-8")) if not complaint else {"undecodable": complaint}
        if "undecodable" in report:
            fault = OutOfTime if complaint.startswith(GIVEN_UP) else Undecodable
            raise fault(f"{path.name} cannot be decoded: {report['undecodable']}.")
        yield report, Path(folder)


def _work(request: str, descriptor: int, limits: Limits, *, log: Path) -> str:
    """Run the worker. Returns what stopped it, or nothing when it came to its end; no process of it is left."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
            env=_environment(),
            pass_fds=(descriptor,),
            start_new_session=True,
        ) as process,
    ):
        try:
            process.communicate(request, timeout=limits.time_limit)
        except subprocess.TimeoutExpired:
            return f"{GIVEN_UP} after {limits.time_limit:g} seconds"
        finally:
            _kill_group(process.pid)
    if process.returncode < 0:
        return f"the decoder crashed ({signal.Signals(-process.returncode).name})"
    return "" if process.returncode == 0 else f"the decoder failed ({_last_line(log)})"


def _last_line(log: Path) -> str:
    """What a traceback ends with."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it did not say why")


def _kill_group(leader: int) -> None:
    """End the worker and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """What the worker gets to know: where its code is, and no secret. One thread: it is one of several."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return kept | threads | {"PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


@contextmanager
def _regular(path: Path) -> Iterator[int]:
    """A descriptor of the file. Raises `Undecodable` where it is missing or no regular file with something in it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would block
    except OSError as error:
        raise Undecodable(f"{path.name} cannot be read: {error.strerror}.") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise Undecodable(f"{path.name} cannot be decoded: it is no regular file.")
        if state.st_size == 0:
            raise Undecodable(f"{path.name} cannot be decoded: it is empty.")
        yield descriptor
    finally:
        os.close(descriptor)
