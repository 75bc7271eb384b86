import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint
from models.components import fit_components, unit
from models.frame_sequence import FrameSequence, windows
from models.learning import learning_key
from models.params import FrameSequenceParams
from models.protocol import Diverged

TINY = {
    "units": 16,
    "dim": 3,
    "window": 4,
    "stride": 1,
    "codes": 4,
    "batch_size": 32,
    "epochs": 3,
    "learning_rate": 0.02,
    "dropout": 0.0,
}
LENGTH, PERIOD = 80, 12


def turning(seed, *, features=8):
    """A point that goes round a circle within `features` dimensions: what comes next is known from two frames."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 6) + np.arange(LENGTH) * 2 * np.pi / PERIOD
    plane = np.zeros((LENGTH, features))
    plane[:, 0] = 2
    plane[:, 1], plane[:, 2] = np.cos(angles), np.sin(angles)
    return (plane + rng.normal(scale=0.01, size=plane.shape)).astype(np.float32)


TRAIN, VALID, HELD_OUT = [turning(0), turning(1)], [turning(2)], [turning(3)]


def fitted(**params):
    model = FrameSequence(FrameSequenceParams(**(TINY | params)))
    return model, model.fit(TRAIN, VALID, seed=0)


def errors(model):
    """Mean squared error of the model and of copying, on a sequence it never saw."""
    cut = windows(HELD_OUT, length=model.params.window + 1, stride=1)
    told, true = model.predict(cut[:, :-1]), model.points(cut[:, -1])
    return np.square(told.points - true).mean(), np.square(model.points(cut[:, -2]) - true).mean()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_learns_how_frames_move_where_copying_cannot(cell):
    model, facts = fitted(cell=cell, epochs=25, patience=25)
    ours, copied = errors(model)
    assert ours < 0.2 * copied
    assert facts["best_epoch"] > 1


def test_the_softmax_names_the_next_code():
    model, _ = fitted(epochs=25, patience=25)
    cut = windows(HELD_OUT, length=5, stride=1)
    told, codes = model.predict(cut[:, :-1]), model.codes(model.points(cut[:, -1]))
    copied = np.mean(model.codes(model.points(cut[:, -2])) == codes)
    assert np.mean(told.probabilities.argmax(axis=1) == codes) > copied
    np.testing.assert_allclose(told.probabilities.sum(axis=1), 1, atol=1e-5)


def test_before_training_it_copies_the_last_frame():
    model = FrameSequence(FrameSequenceParams(**TINY | {"epochs": 1, "learning_rate": 1e-30, "code_weight": 0.0}))
    model.fit(TRAIN, VALID, seed=0)
    cut = windows(HELD_OUT, length=4, stride=1)
    told = model.predict(cut)
    np.testing.assert_allclose(told.points, model.points(cut[:, -1]), atol=1e-5)
    np.testing.assert_allclose(told.features, unit(cut[:, -1]), atol=1e-5)
    assert told.probabilities.argmax(axis=1).tolist() == model.codes(model.points(cut[:, -1])).tolist()


def test_saved_and_loaded_it_says_the_same(tmp_path):
    model, _ = fitted()
    model.save(tmp_path)
    loaded = FrameSequence.load(tmp_path)
    cut = windows(HELD_OUT, length=4, stride=1)
    np.testing.assert_array_equal(loaded.predict(cut).features, model.predict(cut).features)
    assert loaded.digest == model.digest
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "weights.safetensors"]


def test_a_videos_vector_does_not_depend_on_others_and_has_length_one():
    model, _ = fitted()
    short = HELD_OUT[0][:1]
    alone, both = model.encode([short]), model.encode([HELD_OUT[0], short])
    assert alone[0].tobytes() == both[1].tobytes()
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)
    assert both.shape == (2, model.dim)
    with pytest.raises(ValueError, match="A sequence must hold a frame"):
        model.encode([short[:0]])


def test_windows_stay_within_a_sequence_and_step_by_stride():
    numbers = [np.arange(5, dtype=np.float32)[:, None], np.arange(10, 13, dtype=np.float32)[:, None]]
    assert windows(numbers, length=2, stride=2)[..., 0].tolist() == [[0, 2], [1, 3], [2, 4], [10, 12]]
    with pytest.raises(ValueError, match=r"A sequence must have 7 frames or more\. Received: 5 in the longest"):
        windows(numbers, length=4, stride=2)


def test_components_of_more_than_there_is_are_refused():
    with pytest.raises(ValueError, match=r"dim must lie below frames and features\. Received: dim=8"):
        fit_components(TRAIN[0], dim=8)


def test_a_learning_rate_beyond_reason_diverges():
    with pytest.raises(Diverged, match="lower learning_rate"):
        fitted(learning_rate=1e38)


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    whole, _ = fitted(epochs=4, dropout=0.3, patience=9)
    key = learning_key("frame-sequence", {}, TRAIN)
    parts = FrameSequence(FrameSequenceParams(**TINY | {"epochs": 2, "dropout": 0.3, "patience": 9}))
    parts.fit(TRAIN, VALID, seed=0, checkpoint=Checkpoint(tmp_path, key))
    again = FrameSequence(FrameSequenceParams(**TINY | {"epochs": 4, "dropout": 0.3, "patience": 9}))
    facts = again.fit(TRAIN, VALID, seed=0, checkpoint=Checkpoint(tmp_path, key))
    assert len(facts["epochs"]) == 4
    assert again.digest == whole.digest


def test_the_key_of_a_training_tells_data_and_parameters_apart():
    same = [learning_key("a", {"x": 1}, data) for data in (TRAIN, [part.copy() for part in TRAIN])]
    assert same[0] == same[1]
    others = [learning_key("a", {"x": 2}, TRAIN), learning_key("b", {"x": 1}, TRAIN), learning_key("a", {"x": 1}, "x")]
    assert len({same[0], *others}) == 4
    with pytest.raises(TypeError, match="Received: int"):
        learning_key("a", {}, [1])


PROGRAM = """
import sys
from pathlib import Path
from tests.models.test_frame_sequence import fitted
fitted(dropout=0.3, cell=sys.argv[2])[0].save(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_two_processes_train_to_the_same_bytes_and_say_nothing(tmp_path, cell):
    digests = []
    for name in ("one", "two"):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / name), cell]
        ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
        digests.append(sha256((tmp_path / name / "weights.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
