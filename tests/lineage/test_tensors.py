"""Two models side by side: bit-equal means every bit, and every other case is told by name."""

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import save_file

from lineage.tensors import TENSOR_TOLERANCE, TensorDifference, compare_arrays, compare_files, worst

WEIGHTS = np.array([[1.0, -4.0], [0.5, 2.0]], np.float32)
FLOATS = arrays(np.float32, array_shapes(min_dims=0, max_side=4))


def one(recorded: np.ndarray, rebuilt: np.ndarray) -> TensorDifference:
    (found,) = compare_arrays({"w": recorded}, {"w": rebuilt})
    return found


@given(FLOATS)
def test_a_copy_is_equal_whatever_it_holds(array):
    assert compare_arrays({"w": array}, {"w": array.copy()}) == []


@given(arrays(np.float32, array_shapes(max_side=4)), st.data())
def test_one_flipped_bit_anywhere_is_found(array, data):
    flipped = array.copy()
    at = data.draw(st.integers(0, array.nbytes * 8 - 1))
    flipped.reshape(-1).view(np.uint8)[at // 8] ^= 1 << at % 8
    assert one(array, flipped).how == f"1 of {array.size} values differ"


def test_values_that_differ_are_counted_and_measured():
    rebuilt = WEIGHTS + np.array([[0.0, 0.0], [0.25, -0.5]], np.float32)
    assert one(WEIGHTS, rebuilt) == TensorDifference(
        tensor="w", how="2 of 4 values differ", largest=0.5, relative=0.125
    )


@pytest.mark.parametrize(
    ("rebuilt", "how"),
    [
        (WEIGHTS.astype(np.float64), "dtype float64, recorded float32"),
        (WEIGHTS.reshape(4), "shape [4], recorded [2, 2]"),
    ],
)
def test_another_dtype_or_shape_is_different_though_the_values_agree(rebuilt, how):
    assert one(WEIGHTS, rebuilt) == TensorDifference(tensor="w", how=how)
    assert one(WEIGHTS, rebuilt).verdict == "different"


def test_a_missing_and_an_extra_tensor_are_different():
    found = compare_arrays({"a": WEIGHTS, "b": WEIGHTS}, {"b": WEIGHTS, "c": WEIGHTS})
    assert [(one.tensor, one.how, one.verdict) for one in found] == [
        ("a", "missing", "different"),
        ("c", "not recorded", "different"),
    ]


@pytest.mark.parametrize(("share", "verdict"), [(0.5, "within tolerance"), (2.0, "different")])
def test_the_tolerance_is_a_share_of_the_largest_magnitude(share, verdict):
    recorded = np.array([0.0, 1000.0])
    assert one(recorded, recorded + np.array([share * TENSOR_TOLERANCE * 1000, 0.0])).verdict == verdict


@pytest.mark.parametrize(
    ("recorded", "rebuilt"),
    [
        (np.array([1_000_000]), np.array([1_000_001])),  # an index is another video, however near
        (np.zeros(2), np.array([0.0, 1e-30])),  # nothing to hold it against
        (np.array([1.0, np.nan]), np.array([1.0 + 1e-12, np.nan])),
        (np.array([1.0]), np.array([np.inf])),
    ],
)
def test_what_cannot_be_rounding_is_never_within_tolerance(recorded, rebuilt):
    assert one(recorded, rebuilt).verdict == "different"


def test_the_sign_of_zero_is_a_difference_of_no_size():
    assert one(np.array([0.0, 1.0]), np.array([-0.0, 1.0])) == TensorDifference(
        tensor="w", how="1 of 2 values differ", largest=0.0, relative=0.0
    )


@given(st.lists(st.sampled_from(["bit-equal", "within tolerance", "different"])))
def test_the_worst_verdict_wins(verdicts):
    expected = next((v for v in ("different", "within tolerance") if v in verdicts), "bit-equal")
    assert worst(*verdicts) == expected


def saved(path: Path, metadata: dict[str, str] | None = None, **tensors: np.ndarray) -> Path:
    save_file(tensors, path, metadata=metadata)
    return path


def test_files_of_weights_are_compared_tensor_by_tensor(tmp_path):
    recorded = saved(tmp_path / "a.safetensors", w=WEIGHTS, bias=np.ones(3))
    assert compare_files(recorded, saved(tmp_path / "b.safetensors", w=WEIGHTS, bias=np.ones(3))) == (2, [])
    count, (found,) = compare_files(recorded, saved(tmp_path / "c.safetensors", w=WEIGHTS, bias=np.zeros(3)))
    assert (count, found.tensor, found.how, found.largest) == (2, "bias", "3 of 3 values differ", 1.0)


def test_equal_tensors_in_other_bytes_are_not_silently_equal(tmp_path):
    recorded = saved(tmp_path / "a.safetensors", w=WEIGHTS)
    rebuilt = saved(tmp_path / "b.safetensors", {"made": "elsewhere"}, w=WEIGHTS)
    count, (found,) = compare_files(recorded, rebuilt)
    assert (count, found.how, found.verdict) == (1, "other bytes, equal tensors", "within tolerance")


def test_a_damaged_file_is_a_difference(tmp_path):
    recorded = saved(tmp_path / "a.safetensors", w=WEIGHTS)
    (damaged := tmp_path / "b.safetensors").write_bytes(b"{" * 40)
    count, (found,) = compare_files(recorded, damaged)
    assert (count, found.verdict) == (0, "different")
    assert found.how.startswith("cannot be read: ")


VECTORS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)


def index(path: Path, kind: str, vectors: np.ndarray) -> Path:
    made = faiss.index_factory(8, kind, faiss.METRIC_INNER_PRODUCT)
    made.train(vectors)
    made.add(vectors)
    faiss.write_index(made, str(path))
    return path


@pytest.mark.parametrize("kind", ["Flat", "HNSW8", "IVF4,Flat"])
def test_the_vectors_of_an_index_are_its_tensors(tmp_path, kind):
    recorded = index(tmp_path / "a.faiss", kind, VECTORS)
    assert compare_files(recorded, Path(recorded)) == (1, [])
    moved = VECTORS.copy()
    moved[7, 3] += 1.0
    count, found = compare_files(recorded, index(tmp_path / "b.faiss", kind, moved))
    assert (count, found[0].tensor, found[0].how) == (1, "vectors", "1 of 1,600 values differ")
    assert found[0].largest == pytest.approx(1.0)
    assert worst(*(one.verdict for one in found)) == "different"


def test_other_links_over_equal_vectors_are_a_difference(tmp_path):
    recorded = index(tmp_path / "a.faiss", "HNSW8", VECTORS)
    count, (found,) = compare_files(recorded, index(tmp_path / "b.faiss", "HNSW4", VECTORS))
    assert (count, found.how, found.verdict) == (1, "the index's links or cells differ", "different")
