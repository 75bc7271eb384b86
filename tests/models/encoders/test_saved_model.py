import json
import zipfile
from pathlib import Path

import h5py
import pytest

from models.backend import keras
from models.encoders.frames import open_frame_encoder
from models.encoders.saved_model import load_saved_model

# Keras 3 asks NumPy 2 for a model's weights in a deprecated way when it saves them
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
LAYERS = keras.layers


def trap(mark: Path) -> "keras.Model":
    """A model whose Lambda layer writes a file if anybody runs it."""
    code = f"lambda x, touch=__import__('pathlib').Path({str(mark)!r}).touch: (touch(), x)[1]"
    pictures = keras.Input((8, 8, 3))
    return keras.Model(pictures, LAYERS.Lambda(eval(code), output_shape=(8, 8, 3))(pictures))


def save_trap(path: Path, mark: Path) -> Path:
    trap(mark).save(path)
    mark.unlink(missing_ok=True)  # building the model runs it
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_layers_are_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "run"
    path = save_trap(tmp_path / f"trap{suffix}", mark)
    with pytest.raises(ValueError, match=r"^trap\.\w+ holds a Lambda layer, which is code: such models are refused"):
        open_frame_encoder(str(path))
    assert not mark.exists()


def test_a_lambda_deep_inside_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "run"
    pictures = keras.Input((8, 8, 3))
    model = keras.Model(pictures, LAYERS.TimeDistributed(trap(mark))(LAYERS.Reshape((1, 8, 8, 3))(pictures)))
    model.save(tmp_path / "deep.keras")
    mark.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="holds a Lambda layer"):
        load_saved_model(tmp_path / "deep.keras")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "/tmp"}}, "a TFSMLayer layer"),
        ({"class_name": "function", "module": "os", "config": "system"}, "holds function of os"),
        ({"class_name": "Custom", "module": "evil.layers", "config": {}}, "holds Custom of evil.layers"),
        ({"class_name": "Own>Lambda", "module": "keras.layers", "config": {}}, "holds a Own>Lambda layer"),
    ],
)
def test_configurations_that_name_code_are_refused(tmp_path: Path, layer: dict[str, object], reason: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
    with pytest.raises(ValueError, match=reason):
        load_saved_model(tmp_path / "m.keras")


@pytest.mark.parametrize("name", ["m.pkl", "m.pth", "m.pt", "m.bin", "m.joblib", "model"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"must be a \.keras or \.h5 file, or a keras-hub folder"):
        open_frame_encoder(str(tmp_path / name))


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"cos\nsystem\n(S'true'\ntR."])
def test_a_pickle_under_another_name_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^{name} is not what its name says"):
        open_frame_encoder(str(tmp_path / name))


def test_files_without_a_whole_model_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["weights"] = [1.0]
    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04 and no more")
    for name in ("empty.keras", "empty.h5", "cut.keras"):
        with pytest.raises(ValueError, match="holds no whole Keras model"):
            load_saved_model(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        archive.writestr("config.json", "{")
    with pytest.raises(ValueError, match="holds an architecture that is not JSON"):
        load_saved_model(tmp_path / "bad.keras")


def test_a_model_without_its_weights_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((8, 8, 3)), LAYERS.Conv2D(2, 3)]).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as whole, zipfile.ZipFile(tmp_path / "less.keras", "w") as less:
        less.writestr("config.json", whole.read("config.json"))
        less.writestr("metadata.json", whole.read("metadata.json"))
    with pytest.raises(ValueError, match=r"^less\.keras cannot be loaded by Keras: "):
        load_saved_model(tmp_path / "less.keras")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x/weights.pkl", "model.PT"])
def test_a_folder_with_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="which may be a pickle; only safetensors and HDF5 are read"):
        open_frame_encoder(str(tmp_path))


def test_a_folder_with_a_missing_file_is_refused(tmp_path: Path) -> None:
    keras_hub = pytest.importorskip("keras_hub", reason="needs nightreel[text]")
    with pytest.raises(ValueError, match="cannot be loaded by keras-hub: "):
        open_frame_encoder(str(tmp_path))
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=4
    )
    backbone.save_to_preset(str(tmp_path / "vit"))
    (tmp_path / "vit/model.weights.h5").unlink()
    with pytest.raises(ValueError, match="cannot be loaded by keras-hub: "):
        open_frame_encoder(str(tmp_path / "vit"))


def test_a_folder_with_code_is_refused(tmp_path: Path) -> None:
    content = {"class_name": "Lambda", "module": "keras.layers", "config": {}}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="holds a Lambda layer"):
        open_frame_encoder(str(tmp_path))
