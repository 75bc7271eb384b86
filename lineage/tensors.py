"""Two trained models side by side, tensor by tensor: bit-equal, within a stated tolerance, or different."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load_file

# A float tensor is within tolerance when no value is further off than this share of the tensor's largest magnitude:
# about a hundred roundings of float32, which sums in another order leave behind. Of integers (which videos, where)
# none may differ.
TENSOR_TOLERANCE = 1e-5

Verdict = Literal["bit-equal", "within tolerance", "different"]
ORDER: tuple[Verdict, ...] = ("bit-equal", "within tolerance", "different")
Arrays = Mapping[str, NDArray[Any]]


class TensorDifference(BaseModel):
    """One tensor that is not bit-equal.

    Attributes:
        tensor: its name.
        how: what differs, in words.
        largest: largest absolute difference; None where values cannot be held against each other.
        relative: `largest` as a share of the largest recorded magnitude; None as well for integers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor: str
    how: str
    largest: float | None = None
    relative: float | None = None

    @property
    def verdict(self) -> Verdict:
        """What the difference amounts to."""
        near = self.relative is not None and self.relative <= TENSOR_TOLERANCE
        return "within tolerance" if near else "different"


def worst(*verdicts: Verdict) -> Verdict:
    """The worst of `verdicts`; of none, bit-equal."""
    return max(verdicts, key=ORDER.index, default="bit-equal")


def is_tensor_file(path: Path) -> bool:
    """Whether `compare_files` knows its format."""
    return path.suffix in READERS


def compare_files(recorded: Path, rebuilt: Path) -> tuple[int, list[TensorDifference]]:
    """Hold one safetensors, npy or faiss file against another of the same format.

    Returns:
        How many tensors the recorded file has, and the differences. Files whose bytes differ always have one.
    """
    if recorded.read_bytes() == rebuilt.read_bytes():
        return len(_read(recorded)), []
    try:
        ours, theirs = _read(recorded), _read(rebuilt)
    except (SafetensorError, ValueError, RuntimeError) as error:
        return 0, [TensorDifference(tensor=recorded.name, how=f"cannot be read: {error}")]
    found = compare_arrays(ours, theirs)
    if recorded.suffix == ".faiss" and not (_is_flat(recorded) and _is_flat(rebuilt)):
        found.append(TensorDifference(tensor=recorded.name, how="the index's links or cells differ"))
    if not found:
        found.append(
            TensorDifference(tensor=recorded.name, how="other bytes, equal tensors", largest=0.0, relative=0.0)
        )
    return len(ours), found


def compare_arrays(recorded: Arrays, rebuilt: Arrays) -> list[TensorDifference]:
    """The tensors that are not bit-equal, by name: missing, too many, of another dtype or shape, of other values."""
    missing = [TensorDifference(tensor=name, how="missing") for name in sorted(recorded.keys() - rebuilt.keys())]
    extra = [TensorDifference(tensor=name, how="not recorded") for name in sorted(rebuilt.keys() - recorded.keys())]
    both = (_compare(name, recorded[name], rebuilt[name]) for name in sorted(recorded.keys() & rebuilt.keys()))
    return [*missing, *extra, *filter(None, both)]


def _compare(name: str, recorded: NDArray[Any], rebuilt: NDArray[Any]) -> TensorDifference | None:
    if rebuilt.dtype != recorded.dtype:
        return TensorDifference(tensor=name, how=f"dtype {rebuilt.dtype}, recorded {recorded.dtype}")
    if rebuilt.shape != recorded.shape:
        return TensorDifference(tensor=name, how=f"shape {list(rebuilt.shape)}, recorded {list(recorded.shape)}")
    changed = int(np.count_nonzero((_bits(recorded) != _bits(rebuilt)).any(axis=1)))
    if not changed:
        return None
    largest, relative = _distance(recorded, rebuilt)
    how = f"{changed:,} of {recorded.size:,} values differ"
    return TensorDifference(tensor=name, how=how, largest=largest, relative=relative)


def _bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    """`[values, bytes of one]`: NaN equals itself and 0.0 is not -0.0."""
    return np.ascontiguousarray(array).reshape(-1, 1).view(np.uint8)


def _distance(recorded: NDArray[Any], rebuilt: NDArray[Any]) -> tuple[float | None, float | None]:
    if recorded.dtype.kind not in "iuf":
        return None, None
    with np.errstate(invalid="ignore"):  # a NaN can be a signalling one
        before, after = recorded.astype(np.float64), rebuilt.astype(np.float64)
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return None, None
    largest, scale = float(np.abs(after - before).max()), float(np.abs(before).max())
    measurable = recorded.dtype.kind == "f" and scale > 0
    return largest, largest / scale if measurable else None


def _safetensors(path: Path) -> Arrays:
    arrays: Arrays = load_file(path)
    return arrays


def _npy(path: Path) -> Arrays:
    return {"array": np.load(path, allow_pickle=False)}


def _faiss(path: Path) -> Arrays:
    index = _index(path)
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    return {"vectors": index.reconstruct_n(0, index.ntotal)}


def _is_flat(path: Path) -> bool:
    """Whether the index is its vectors and nothing else."""
    return isinstance(_index(path), import_module("faiss").IndexFlat)


def _index(path: Path) -> Any:
    # faiss trusts the bytes that it reads: these were checked by digest or just made
    return import_module("faiss").read_index(str(path))


READERS = {".safetensors": _safetensors, ".npy": _npy, ".faiss": _faiss}


def _read(path: Path) -> Arrays:
    return READERS[path.suffix](path)
