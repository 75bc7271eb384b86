from typing import ClassVar

import numpy as np
import pytest

from models.gru4rec import Gru4Rec
from models.params import Gru4RecParams
from tests.models.histories import scores, training
from tests.models.sequence_models import (
    CHAIN,
    SequenceModelTests,
    chain_training,
)
from tests.tasks.prepared_folder import sequences

TINY = {"dim": 8, "max_length": 6, "batch_size": 4, "epochs": 3, "learning_rate": 0.01, "jit_compile": False}
START, PAD = 12, 13


def fitted(*, data=None, **params):
    model = Gru4Rec(Gru4RecParams(**(TINY | params)))
    facts = model.fit(data or chain_training())
    return model, facts


@pytest.fixture(scope="module", params=["gru", "lstm"])
def learnt(request):
    """A model that had the time to learn the chain, and what its training said."""
    return fitted(data=training(*CHAIN), cell=request.param, epochs=25, dropout=0.0, learning_rate=0.03)


class TestSequenceModel(SequenceModelTests):
    fitted = staticmethod(fitted)
    one_video_with: ClassVar = {"negatives": 3, "epochs": 1}


def test_it_learns_what_follows_what_for_viewers_it_never_met(learnt):
    model, facts = learnt
    assert scores(model, sequences([2, 3, 4], [7], [10, 11])).argmax(axis=1).tolist() == [5, 8, 0]
    assert facts["epochs"][0]["loss"] == pytest.approx(np.log(12), abs=0.5)
    assert facts["device"].startswith("cpu")


def test_a_viewers_vector_is_the_state_after_the_newest_event(learnt):
    model, _ = learnt
    states = np.asarray(model._network(np.array([[START, 2, 3, 4]], np.int32)))
    np.testing.assert_allclose(model.viewer_vectors(sequences([2, 3, 4])), states[:, -1], atol=1e-6)
    states = np.asarray(model._network(np.array([[5, 6, 7, 8, 9, 10]], np.int32)))
    np.testing.assert_allclose(model.viewer_vectors(sequences(range(11))), states[:, -1], atol=1e-6)


def test_padding_changes_no_state(learnt):
    network = learnt[0]._network
    bare = np.asarray(network(np.array([[START, 3, 4]], np.int32)))
    padded = np.asarray(network(np.array([[START, 3, 4, PAD, PAD, PAD]], np.int32)))
    np.testing.assert_allclose(padded[:, :3], bare, atol=1e-6)


@pytest.mark.parametrize("changed", range(1, 6))
def test_what_comes_later_changes_nothing_before(learnt, changed):
    tokens = np.array([[START, 2, 3, 4, 5, 6]] * 2, np.int32)
    tokens[1, changed:] = 9
    before, after = np.asarray(learnt[0]._network(tokens))
    np.testing.assert_allclose(before[:changed], after[:changed], atol=1e-6)
    assert np.abs(before[changed] - after[changed]).max() > 1e-3


def test_padding_comes_last_in_what_is_learnt():
    model = Gru4Rec(Gru4RecParams(**TINY))
    model._n_videos = 12
    inputs, targets = model._examples(sequences([1, 2], [3, 4, 5, 6, 7, 8, 9]))(np.random.default_rng(0))
    assert inputs.tolist() == [[12, 1, 13, 13, 13, 13], [3, 4, 5, 6, 7, 8], [12, 13, 13, 13, 13, 13]]
    assert targets.tolist() == [[1, 2, -1, -1, -1, -1], [4, 5, 6, 7, 8, 9], [3, -1, -1, -1, -1, -1]]


def test_a_step_is_the_papers_equation():
    model, _ = fitted(epochs=1)
    network = model._network
    tokens = np.array([[START, 4, 7]], np.int32)
    kernel, recurrent, bias = (np.asarray(weight) for weight in network.recurrent[0].weights)
    state = np.zeros(8)
    for x in np.asarray(network.embedding.embeddings)[tokens[0]]:
        (u_x, r_x, x_), (u_s, r_s, s_) = (
            np.split(part, 3) for part in (x @ kernel + bias[0], state @ recurrent + bias[1])
        )
        u, r = 1 / (1 + np.exp(-u_x - u_s)), 1 / (1 + np.exp(-r_x - r_s))
        state = u * state + (1 - u) * np.tanh(x_ + r * s_)
    normed = (state - state.mean()) / np.sqrt(state.var() + 1e-6)
    gamma, beta = (np.asarray(weight) for weight in network.last.weights)
    np.testing.assert_allclose(np.asarray(network(tokens))[0, -1], normed * gamma + beta, rtol=1e-4, atol=1e-5)


def test_layers_are_stacked():
    assert [layer.name for layer in fitted(layers=2, epochs=1)[0]._network.recurrent] == ["gru_0", "gru_1"]


def test_sampled_negatives_learn_the_chain_too():
    model, _ = fitted(data=training(*CHAIN), epochs=25, dropout=0.0, learning_rate=0.03, negatives=8)
    assert scores(model, sequences([2, 3, 4], [7])).argmax(axis=1).tolist() == [5, 8]


def test_another_cell_is_refused():
    with pytest.raises(ValueError, match="cell\n  Input should be 'gru' or 'lstm'"):
        Gru4RecParams(cell="rnn")
