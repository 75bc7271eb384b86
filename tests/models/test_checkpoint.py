import numpy as np
import pytest

from models.checkpoint import Checkpoint, training_key
from tests.models.histories import training


def test_what_was_kept_comes_back_and_is_replaced_as_a_whole(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new", "key")
    assert checkpoint.load() is None
    checkpoint.save({"w": np.arange(3.0)}, {"epochs": [{"loss": 1.5}]})
    checkpoint.save({"v": np.arange(2)}, {"epochs": []})
    arrays, facts = checkpoint.load()
    assert facts == {"epochs": []}
    np.testing.assert_array_equal(arrays["v"], [0, 1])
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["state.safetensors"]


def test_the_state_of_another_training_is_not_taken_up(tmp_path):
    Checkpoint(tmp_path, "key").save({"w": np.arange(3.0)}, {})
    assert Checkpoint(tmp_path, "other").load() is None


@pytest.mark.parametrize("kept", [0, 4, 100])
def test_a_torn_file_counts_as_none(tmp_path, kept):
    Checkpoint(tmp_path, "key").save({"w": np.arange(300.0)}, {})
    file = tmp_path / "state.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert Checkpoint(tmp_path, "key").load() is None


def test_without_a_folder_nothing_is_kept():
    checkpoint = Checkpoint(None, "key")
    checkpoint.save({"w": np.arange(3.0)}, {})
    assert checkpoint.load() is None


def test_whatever_decides_the_result_changes_the_key():
    def key(data, params=None, software="keras 3"):
        return training_key(data, params=params or {}, software=software)

    base = key(training([0, 1], [2]))
    assert base == key(training([0, 1], [2]))
    others = [
        key(training([0, 1], [2], seed=1)),
        key(training([0, 1], [2], n_videos=9)),
        key(training([0], [1, 2])),
        key(training([1, 0], [2])),
        key(training([0, 1], [2], valid=[[1], []])),
        key(training([0, 1], [2]), {"dim": 8}),
        key(training([0, 1], [2]), software="keras 4"),
    ]
    assert len({base, *others}) == len(others) + 1
