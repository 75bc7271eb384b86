import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backend import keras, memory_exhaustion_diverges
from models.params import SasRecParams
from models.protocol import Diverged
from models.sasrec import SasRec
from tests.models.histories import scores, training
from tests.models.sequence_models import (
    CHAIN,
    NEXT,
    SequenceModelTests,
    chain_training,
    judged,
    judged_popularity,
)
from tests.tasks.prepared_folder import sequences

TINY = {
    "dim": 8,
    "blocks": 1,
    "heads": 2,
    "max_length": 6,
    "batch_size": 4,
    "epochs": 3,
    "learning_rate": 0.01,
    "jit_compile": False,
}


def fitted(*, data=None, **params):
    model = SasRec(SasRecParams(**(TINY | params)))
    facts = model.fit(data or chain_training())
    return model, facts


@pytest.fixture(scope="module")
def learnt():
    """A model that had the time to learn the chain, and what its training said."""
    return fitted(epochs=20, patience=20, dropout=0.0, learning_rate=0.02)


class TestSequenceModel(SequenceModelTests):
    fitted = staticmethod(fitted)
    one_video_with: ClassVar = {}

    @pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)])
    def jit(self, request):
        return request.param

    @pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
    def precision(self, request):
        return request.param


def test_it_learns_what_follows_what_for_viewers_it_never_met(learnt):
    model, facts = learnt
    best = scores(model, sequences([2, 3, 4], [7], [10, 11])).argmax(axis=1)
    assert best.tolist() == [5, 8, 0]
    assert facts["epochs"][facts["best_epoch"] - 1]["ndcg@10"] > 0.95
    assert facts["device"].startswith("cpu")


def test_the_epochs_losses_fall_from_that_of_guessing(learnt):
    losses = [epoch["loss"] for epoch in learnt[1]["epochs"]]
    assert losses[0] == pytest.approx(np.log(12), abs=0.3)
    assert losses[-1] < 0.5


@settings(max_examples=15)
@given(st.lists(st.integers(0, 11), min_size=6, max_size=6), st.integers(1, 5), st.integers(0, 11))
def test_what_comes_later_changes_nothing_before(learnt, tokens, changed, video):
    network = learnt[0]._network
    other = [*tokens[:changed], *[video] * (6 - changed)]
    before, after = np.asarray(network(np.array([tokens, other], np.int32)))
    np.testing.assert_allclose(before[:changed], after[:changed], atol=1e-5)


def test_what_is_left_of_the_history_changes_nothing(learnt):
    network = learnt[0]._network
    padded = np.array([[13, 13, 13, 12, 3, 4]], np.int32)
    first = np.asarray(network(padded))[:, 3:]
    network.embedding.embeddings[13].assign(np.full(8, 9.0))
    np.testing.assert_array_equal(np.asarray(network(padded))[:, 3:], first)


def test_weights_of_another_shape_of_network_are_refused(learnt, tmp_path):
    learnt[0].save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["config"]["params"]["blocks"] = 2
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="block_1"):
        SasRec.load(tmp_path)


def test_sampled_negatives_learn_the_chain_too():
    model, _ = fitted(data=training(*CHAIN), epochs=25, dropout=0.0, learning_rate=0.02, negatives=8)
    assert scores(model, sequences([2, 3, 4], [7])).argmax(axis=1).tolist() == [5, 8]


@pytest.mark.slow
def test_gbce_learns_the_chain_too_and_better_than_popularity():
    data = chain_training()
    model, _ = fitted(data=training(*CHAIN), epochs=60, dropout=0.0, learning_rate=0.02, negatives=8, loss="gbce")
    assert judged(model, data) > judged_popularity(data)
    assert scores(model, sequences([2, 3, 4], [7])).argmax(axis=1).tolist() == [5, 8]


def test_gbce_starts_from_that_of_guessing_and_uncalibrated_is_another_loss():
    # scores begin near 0: all 6 negatives and the positive, raised to b = 1 - t + t 6 / 11, miss by log 2 each
    for t, power in ((0.0, 1.0), (1.0, 6 / 11)):
        loss = fitted(negatives=6, loss="gbce", calibration=t, epochs=1, learning_rate=1e-9)[1]["epochs"][0]["loss"]
        assert loss == pytest.approx(np.log(2) * (6 + power) / 7, abs=0.06)


def test_gbce_without_negatives_is_refused():
    sentence = r"loss gbce is over sampled negatives: negatives must be 1 or more\. Received: negatives=0"
    with pytest.raises(ValueError, match=sentence):
        SasRecParams(loss="gbce")


def test_the_sampled_loss_stands_for_the_full_one_before_anything_is_learnt():
    assert fitted(negatives=6, epochs=1)[1]["epochs"][0]["loss"] == pytest.approx(np.log(12), abs=0.3)


def test_a_checkpoint_of_other_data_is_not_gone_on_from(tmp_path):
    fitted(data=chain_training(checkpoints=tmp_path))
    epochs = []
    other = training(
        *CHAIN[:6], valid=NEXT[:6], checkpoints=tmp_path, on_epoch=lambda epoch, epochs_, m: epochs.append(epoch)
    )
    fitted(data=other)
    assert epochs == [1, 2, 3]


def test_early_stopping_goes_back_to_the_best_epoch():
    model, facts = fitted(epochs=30, patience=1, learning_rate=0.2)
    assert len(facts["epochs"]) == facts["best_epoch"] + 1
    rerun, _ = fitted(epochs=facts["best_epoch"], patience=30, learning_rate=0.2)
    np.testing.assert_array_equal(rerun.video_vectors(), model.video_vectors())


def test_without_a_validation_set_all_epochs_are_run_and_the_last_kept():
    _, facts = fitted(data=training(*CHAIN))
    assert [list(epoch) for epoch in facts["epochs"]] == [["loss"]] * 3
    assert facts["best_epoch"] == 3


def test_memory_that_runs_out_fails_the_candidate():
    import tensorflow as tf

    for error in (
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM"),
        RuntimeError("RESOURCE_EXHAUSTED"),
    ):
        with pytest.raises(Diverged, match="ran out of memory"), memory_exhaustion_diverges():
            raise error
    with pytest.raises(RuntimeError, match="a defect"), memory_exhaustion_diverges():
        raise RuntimeError("a defect")


def test_heads_must_share_the_dimension():
    with pytest.raises(ValueError, match=r"dim must be a multiple of heads\. Received: dim=10, heads=4"):
        SasRecParams(dim=10, heads=4)


def test_keras_runs_on_the_backend_that_is_asked_for():
    assert keras.backend.backend() == "tensorflow"
