"""Arrays in, arrays out: for those who come with frames, features and a model of their own and no catalogue."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.console import track
from infra.disk import arriving, disk_errors
from infra.errors import BadInput
from models.encoders.frames import BATCH, FrameEncoder, open_frame_encoder

BLOCK = 65_536  # rows of features that are looked at at once

Row = dict[str, Any]


def encode_frames(frames: Path, *, model: str, out: Path) -> Row:
    """Write the features of the frames in a .npy file to another one.

    Args:
        frames: `[n, 224, 224, 3]`, uint8 or float, RGB in 0..255. It is mapped, not read into memory.
        model: as `open_frame_encoder` takes it.
        out: gets `[n, dim]` float32; what was there is replaced once all is encoded.

    Returns:
        `frames`, `dim`, `digest`, `licence` and `out`.

    Raises:
        BadInput: the array or the model cannot be used, or `out` cannot be written.
    """
    pictures = read_array(frames, named="--frames")
    if pictures.shape[1:] != (224, 224, 3) or not len(pictures):
        raise BadInput(f"--frames must be [n, 224, 224, 3] with n at least 1. Received: {_of(pictures)}")
    try:
        encoder = open_frame_encoder(model)
        _write(out, _encoded(encoder, pictures), shape=(len(pictures), encoder.dim))
    except ValueError as error:
        raise BadInput(f"--model: {error}") from error
    facts: Row = {"frames": len(pictures), "dim": encoder.dim, "digest": encoder.digest}
    return facts | {"licence": encoder.licence, "out": str(out)}


def rank_features(history: Path, features: Path, *, k: int) -> list[Row]:
    """The rows of `features` that are nearest to a history, by cosine to the mean of the history's unit rows.

    Args:
        history: .npy, `[h, dim]` numbers: the features of what was watched.
        features: .npy, `[n, dim]`; it is mapped and looked at in blocks.
        k: list length, 1 <= k <= n.

    Returns:
        `rank` from 1, `row` of `features` and `cosine`, best first; of equals the lower row comes first. A row of
        zeros has cosine 0.

    Raises:
        BadInput: an array cannot be used, or `k` is out of range.
    """
    watched, catalogue = _table(history, named="--history"), _table(features, named="--features")
    if watched.shape[1] != catalogue.shape[1]:
        raise BadInput(
            f"--history and --features must have rows of one length. Received: {_of(watched)}, {_of(catalogue)}"
        )
    if not 1 <= k <= len(catalogue):
        raise BadInput(f"k must lie in 1..{len(catalogue)}, the rows of --features. Received: k={k}")
    taste = _unit_rows(_unit_rows(_finite(watched, "--history")).mean(axis=0, keepdims=True))[0]
    blocks = track(_blocks(catalogue), label="rank", total=-(-len(catalogue) // BLOCK))
    cosines = np.concatenate([_unit_rows(_finite(block, "--features")) @ taste for block in blocks])
    best = np.argsort(-cosines, kind="stable")[:k]
    return [{"rank": rank, "row": int(row), "cosine": float(cosines[row])} for rank, row in enumerate(best, start=1)]


def read_array(path: Path, *, named: str) -> NDArray[Any]:
    """The array in a .npy file, mapped and read-only.

    Args:
        path: the file.
        named: the option that it came by, for the message.

    Raises:
        BadInput: it is missing, no .npy file, holds Python objects (those are pickles), or neither whole numbers nor
            floats.
    """
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise BadInput(f"{named} {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise BadInput(f"{named} {path} is no .npy file of numbers: {error}") from None
    if array.dtype.kind not in "uif":
        raise BadInput(f"{named} must hold whole numbers or floats. Received: {_of(array)}")
    return array


def _table(path: Path, *, named: str) -> NDArray[Any]:
    array = read_array(path, named=named)
    if array.ndim != 2 or 0 in array.shape:
        raise BadInput(f"{named} must be [rows, dim], none of them 0. Received: {_of(array)}")
    return array


def _of(array: NDArray[Any]) -> str:
    return f"{list(array.shape)} {array.dtype}"


def _encoded(encoder: FrameEncoder, pictures: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    starts = range(0, len(pictures), BATCH)
    for start in track(starts, label="encode", total=len(starts)):
        yield encoder.encode(pictures[start : start + BATCH])


def _write(out: Path, parts: Iterator[NDArray[np.float32]], *, shape: tuple[int, int]) -> None:
    """A .npy file that has its name only when it is whole."""
    with disk_errors(out), arriving(out) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(part.astype("<f4").tobytes())


def _blocks(table: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(table), BLOCK):
        yield table[start : start + BLOCK]


def _finite(rows: NDArray[Any], named: str) -> NDArray[np.float64]:
    numbers = np.asarray(rows, np.float64)
    if not np.isfinite(numbers).all():
        raise BadInput(f"{named} must hold no NaN and no infinity")
    return numbers


def _unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: NDArray[np.float64] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return units
