import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from models.backend import array_of
from models.params import TwoTowerParams
from models.protocol import Diverged
from models.ranking import top_k
from models.twotower import TwoTower
from models.video_content import VideoContent
from tests.models.histories import saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences

# Two tastes: viewers watch either videos of group 0 (even) or of group 1 (odd). 0..15 are the vocabulary, 16..19 new.
TASTES = [[(2 * (start + step) + taste) % 16 for step in range(5)] for taste in (0, 1) for start in range(8)]
NEXT = [[(row[-1] + 2) % 16] for row in TASTES]
TINY = {
    "dim": 8,
    "hidden": 16,
    "max_length": 4,
    "batch_size": 16,
    "epochs": 3,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "jit_compile": False,
}


def catalogue(n=20, *, text="text v1"):
    """Content that tells the groups apart in one direction out of six; some videos have none, or no sound."""
    random = np.random.default_rng(3)
    text_vectors = random.normal(size=(n, 6)).astype(np.float32)
    text_vectors[:, 0] = np.where(np.arange(n) % 2, 4, -4)
    text_vectors[5] = np.nan
    sound = random.normal(size=(n, 3)).astype(np.float32)
    sound[::3] = np.nan
    return VideoContent({"text": text_vectors, "sound": sound}, {"text": text, "sound": "sound v1"})


def taste_training(**options):
    options = {"content": catalogue(), "n_videos": 16, "valid": NEXT} | options
    return training(*options.pop("train", TASTES), **options)


def fitted(*, data=None, **params):
    model = TwoTower(TwoTowerParams(**(TINY | params)))
    facts = model.fit(data or taste_training())
    return model, facts


@pytest.fixture(scope="module")
def learnt():
    """A model that had the time to learn the tastes, and what its training said."""
    return fitted(epochs=25, patience=25)


def test_videos_that_nobody_has_watched_are_ranked_by_their_content(learnt):
    model, facts = learnt
    found = scores(model, sequences([0, 2], [1, 3, 7]))
    assert found.shape == (2, 20)
    assert found[0, [16, 18]].min() > found[0, [17, 19]].max()
    assert found[1, [17, 19]].min() > found[1, [16, 18]].max()
    assert facts["device"].startswith("cpu")


def test_a_new_video_in_a_history_tells_of_its_viewer(learnt):
    found = scores(learnt[0], sequences([16, 18], [17, 19]))
    assert found[0, 0:15:2].mean() > found[0, 1:16:2].mean() + 0.5
    assert found[1, 1:16:2].mean() > found[1, 0:15:2].mean() + 0.5


def test_training_starts_from_the_encoders_own_likenesses():
    rows = catalogue().filled("text")
    content = VideoContent({"text": rows}, {"text": "text v1"})
    model, _ = fitted(data=taste_training(content=content, valid=None), epochs=1, learning_rate=1e-9)
    centred = rows - rows[:16].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    vectors = model.video_vectors()
    np.testing.assert_allclose(vectors @ vectors.T, unit @ unit.T, atol=0.1)


def test_the_epochs_losses_fall(learnt):
    losses = [epoch["loss"] for epoch in learnt[1]["epochs"]]
    assert losses[-1] < losses[0] - 0.5


def test_an_epochs_loss_is_the_mean_over_all_events():
    whole, cut = (
        fitted(batch_size=size, epochs=1, learning_rate=1e-9, id_dropout=0.0)[1]["epochs"][0]["loss"]
        for size in (80, 79)
    )
    assert cut == pytest.approx(whole, rel=0.05)


def test_vectors_are_of_length_one(learnt):
    model, _ = learnt
    for vectors in (model.video_vectors(), model.viewer_vectors(sequences([0], [], [1, 2, 3, 4, 5, 6, 7]))):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_an_empty_history_has_finite_scores(learnt):
    assert np.isfinite(scores(learnt[0], sequences([], []))).all()
    assert learnt[0].viewer_vectors(sequences()).shape == (0, 8)


def test_a_viewers_vector_does_not_depend_on_who_else_is_asked_for(learnt):
    model, _ = learnt
    alone = model.viewer_vectors(sequences([2, 3, 4]))
    together = model.viewer_vectors(sequences(*[[7, 8]] * 300, [2, 3, 4]))
    np.testing.assert_allclose(together[-1:], alone, atol=1e-5)


def test_a_videos_bits_do_not_depend_on_what_else_is_embedded(learnt):
    model, _ = learnt
    content, many = catalogue(2500), np.arange(2500)
    random = np.random.default_rng(0)
    whole = model.embed(content)
    np.testing.assert_array_equal(whole[:20], model.embed(catalogue(2500), rows=np.arange(20)))
    for order in (many[::-1], random.permutation(many), many[2000:], many[1023:1026], many[16:17]):
        np.testing.assert_array_equal(model.embed(content, rows=order), whole[order])


def test_a_video_that_no_training_event_is_of_is_known_by_content_alone():
    data = taste_training(train=[[video for video in row if video != 4] for row in TASTES], valid=None)
    model, _ = fitted(data=data)
    before = model.embed(catalogue())
    ids = model._network.videos.ids.embeddings
    ids.assign(np.concatenate([np.full((16, 8), 7.0), array_of(ids)[16:]]))
    changed = (model.embed(catalogue()) != before).any(axis=1)
    assert np.flatnonzero(~changed).tolist() == [4, 16, 17, 18, 19]


def test_with_all_ids_hidden_training_moves_none_of_them_but_that_of_the_unknown():
    short, long = (
        array_of(fitted(id_dropout=1.0, epochs=epochs)[0]._network.videos.ids.embeddings) for epochs in (1, 3)
    )
    assert (short == long).all(axis=1).tolist() == [True] * 16 + [False]


def test_what_is_left_of_the_history_changes_nothing(learnt):
    model, _ = learnt
    cut = model.viewer_vectors(sequences([9, 1, 2, 3, 4]))
    assert not np.allclose(cut, model.viewer_vectors(sequences([9, 1, 2, 3, 7])))
    history = {"history": np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)}
    history["history"][1, 2:] = history["history"][0, 2:]
    history["history"][1, :2] = history["history"][0, :2]
    history["history"][0, 3] = 9.0
    told = {"freshness": np.array([[0, 0, 0, -1e9]] * 2, np.float32), "context": np.zeros((2, 8), np.float32)}
    one, two = np.asarray(model._network.viewers(history | told))
    np.testing.assert_array_equal(one, two)


def test_what_was_saved_loads_to_the_same_bytes_and_vectors(learnt, tmp_path):
    model, _ = learnt
    first = saved_bytes(model, tmp_path / "a")
    assert list(first) == ["config.json", "videos.safetensors", "weights.safetensors"]
    loaded = TwoTower.load(tmp_path / "a")
    assert saved_bytes(loaded, tmp_path / "b") == first
    histories = sequences([2, 3, 4], [])
    np.testing.assert_array_equal(loaded.viewer_vectors(histories), model.viewer_vectors(histories))
    np.testing.assert_array_equal(loaded.embed(catalogue()), model.video_vectors())


def test_weights_of_another_shape_of_network_are_refused(learnt, tmp_path):
    learnt[0].save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["dims"] |= {"smell": 2}
    config["config"]["encoders"] |= {"smell": "smell v1"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="from_smell"):
        TwoTower.load(tmp_path)


def test_vectors_of_another_encoder_are_refused(learnt):
    with pytest.raises(ValueError, match=r"text must come from .* text v1\. Received: text v2"):
        learnt[0].embed(catalogue(text="text v2"))


@pytest.mark.parametrize("content", [None, VideoContent({}, {})])
def test_without_content_the_candidate_fails(content):
    with pytest.raises(Diverged, match=r"twotower needs content vectors: set encode\.text"):
        fitted(data=taste_training(content=content))


class Killed(BaseException):
    """As a signal would end it: nothing catches it."""


def test_a_killed_training_that_goes_on_ends_as_one_never_stopped(tmp_path):
    params = {"epochs": 4, "patience": 5, "dropout": 0.2}
    whole, facts = fitted(**params)
    resumed_from = []

    def killed_after(last):
        def on_epoch(epoch, epochs, metrics):
            resumed_from.append(epoch)
            if epoch == last:
                raise Killed

        return taste_training(checkpoints=tmp_path / "kept", on_epoch=on_epoch)

    for last in (1, 2):
        with pytest.raises(Killed):
            fitted(data=killed_after(last), **params)
    model, facts_again = fitted(data=killed_after(None), **params)
    assert resumed_from == [1, 2, 3, 4]
    assert facts_again == facts
    assert saved_bytes(model, tmp_path / "a") == saved_bytes(whole, tmp_path / "b")


def test_a_checkpoint_of_other_content_is_not_gone_on_from(tmp_path):
    fitted(data=taste_training(checkpoints=tmp_path))
    epochs = []
    other = taste_training(
        content=catalogue(text="text v2"), checkpoints=tmp_path, on_epoch=lambda epoch, *_: epochs.append(epoch)
    )
    fitted(data=other)
    assert epochs == [1, 2, 3]


def test_early_stopping_goes_back_to_the_best_epoch():
    model, facts = fitted(epochs=30, patience=1, learning_rate=0.1)
    assert len(facts["epochs"]) == facts["best_epoch"] + 1
    rerun, _ = fitted(epochs=facts["best_epoch"], patience=30, learning_rate=0.1)
    np.testing.assert_array_equal(rerun.video_vectors(), model.video_vectors())


def test_a_learning_rate_beyond_reason_diverges():
    with pytest.raises(Diverged, match="lower learning_rate"):
        fitted(learning_rate=1e38)


@pytest.mark.parametrize("train", [[[0], [], [0, 0]], [[], []]])
def test_one_video_and_viewers_without_events_can_be_trained_on(train):
    model, _ = fitted(data=taste_training(train=train, valid=None, n_videos=1))
    assert scores(model, sequences([0], [])).shape == (2, 20)


def test_a_vocabulary_too_large_for_a_batch_trains_on_the_videos_at_hand():
    few = {"batch_size": 2, "max_length": 2, "epochs": 25, "patience": 25}
    model, _ = fitted(data=taste_training(valid=None), **few)
    found = scores(model, sequences([0, 2], [1, 3]))
    assert found[0, [16, 18]].min() > found[0, [17, 19]].max()
    assert found[1, [17, 19]].min() > found[1, [16, 18]].max()


@pytest.mark.parametrize("options", [{"pooling": "mean", "half_life_days": 1.0}, {"learn_temperature": False}])
def test_every_kind_learns(options):
    model, facts = fitted(epochs=15, patience=15, **options)
    assert facts["epochs"][-1]["loss"] < facts["epochs"][0]["loss"] - 0.3
    lists, _ = top_k(model.viewer_vectors(sequences([0, 2, 4])), model.video_vectors(), sequences([0, 2, 4]), 5)
    assert (lists % 2 == 0).sum() >= 4


PROGRAM = """
import sys
from pathlib import Path
from tests.models.test_twotower import fitted
fitted(epochs=2, dropout=0.2, jit_compile=sys.argv[2] == "jit")[0].save(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("compiled", ["plain", pytest.param("jit", marks=pytest.mark.slow)])
def test_two_processes_train_to_the_same_bytes_and_say_nothing(tmp_path, compiled):
    root = Path(__file__).parents[2]
    digests = []
    for name in ("one", "two"):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / name), compiled]
        ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
        files = ("weights.safetensors", "config.json", "videos.safetensors")
        digests.append([sha256((tmp_path / name / file).read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]
