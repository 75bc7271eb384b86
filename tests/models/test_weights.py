import numpy as np
import pytest

from models.weights import load_arrays, load_config, save_weights


def leave(folder):
    save_weights(folder, recommender="ease", arrays={"b": np.arange(3), "a": np.eye(2)[:, ::-1]}, config={"l2": 1.5})


def test_arrays_and_config_come_back(tmp_path):
    leave(tmp_path)
    arrays = load_arrays(tmp_path / "weights.safetensors", names=["a", "b"])
    np.testing.assert_array_equal(arrays["a"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(arrays["b"], [0, 1, 2])
    assert load_config(tmp_path, recommender="ease") == {"l2": 1.5}


def test_equal_weights_give_equal_bytes(tmp_path):
    leave(tmp_path / "one")
    leave(tmp_path / "two")
    for name in ("weights.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"[1]", b'{"format": 2, "recommender": "ease"}'])
def test_a_config_that_is_none_is_refused_by_name(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        load_config(tmp_path, recommender="ease")


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_weights_that_are_no_safetensors_are_refused_by_name(tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is not a safetensors file"):
        load_arrays(tmp_path / "weights.safetensors", names=["a"])


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        load_config(tmp_path, recommender="ease")
    with pytest.raises(ValueError, match=r"weights\.safetensors does not exist"):
        load_arrays(tmp_path / "weights.safetensors", names=["a"])


def test_other_arrays_than_asked_for_are_refused(tmp_path):
    leave(tmp_path)
    with pytest.raises(ValueError, match=r"must hold a, c\. Received: a, b"):
        load_arrays(tmp_path / "weights.safetensors", names=["a", "c"])
