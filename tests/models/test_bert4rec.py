from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bert4rec import Bert4Rec, masked
from models.params import Bert4RecParams
from models.windows import whole_windows
from tests.models.histories import scores, training
from tests.models.sequence_models import (
    CHAIN,
    SequenceModelTests,
    chain_training,
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
    "last_share": 0.5,
    "jit_compile": False,
}
START, PAD, MASK = 12, 13, 14


def fitted(*, data=None, **params):
    model = Bert4Rec(Bert4RecParams(**(TINY | params)))
    facts = model.fit(data or chain_training())
    return model, facts


@pytest.fixture(scope="module")
def learnt():
    """A model that had the time to learn the chain, and what its training said."""
    return fitted(data=training(*CHAIN), epochs=60, dropout=0.0, learning_rate=0.02)


class TestSequenceModel(SequenceModelTests):
    fitted = staticmethod(fitted)
    killed_with: ClassVar = {}


def hide(whole, *, share, last_share, seed=0):
    return masked(whole, n_videos=12, share=share, last_share=last_share, rng=np.random.default_rng(seed))


def test_it_learns_what_follows_what_for_viewers_it_never_met(learnt):
    model, facts = learnt
    assert scores(model, sequences([2, 3, 4], [7, 8], [10, 11])).argmax(axis=1).tolist() == [5, 9, 0]
    assert facts["epochs"][0]["loss"] == pytest.approx(np.log(12), abs=0.5)
    assert facts["device"].startswith("cpu")


def test_what_is_asked_is_the_newest_events_and_a_mask(learnt):
    asked = learnt[0]._question(sequences([2, 3], range(9), []))
    assert asked.tolist() == [[PAD, PAD, START, 2, 3, MASK], [4, 5, 6, 7, 8, MASK], [PAD, PAD, PAD, PAD, START, MASK]]


def test_a_state_depends_on_both_sides_and_a_hidden_video_on_neither(learnt):
    network = learnt[0]._network
    tokens = np.array([[START, 2, MASK, 4, 5, 6], [START, 9, MASK, 4, 5, 6], [START, 2, MASK, 9, 5, 6]], np.int32)
    told, earlier_changed, later_changed = np.asarray(network(tokens))[:, 2]
    assert np.abs(told - earlier_changed).max() > 1e-3
    assert np.abs(told - later_changed).max() > 1e-3


def test_what_is_left_of_the_history_changes_nothing(learnt):
    network = learnt[0]._network
    padded = np.array([[PAD, PAD, START, 3, 4, MASK]], np.int32)
    first = np.asarray(network(padded))[:, 2:]
    kept = np.asarray(network.embedding.embeddings[PAD])
    network.embedding.embeddings[PAD].assign(np.full(8, 9.0))
    np.testing.assert_array_equal(np.asarray(network(padded))[:, 2:], first)
    network.embedding.embeddings[PAD].assign(kept)


@given(
    st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=14), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_only_videos_are_hidden_and_their_targets_are_they(watched, share, last_share, seed):
    whole = whole_windows(sequences(*watched), length=6, n_videos=12)
    inputs, targets = hide(whole, share=share, last_share=last_share, seed=seed)
    hidden = inputs == MASK
    np.testing.assert_array_equal(np.where(hidden, targets, inputs), whole)
    np.testing.assert_array_equal(hidden, targets >= 0)
    only_last = hidden[:, -1] & (hidden.sum(axis=1) == 1)
    assert only_last.sum() >= np.ceil(last_share * len(whole))
    expected = np.maximum(np.rint(share * (whole < 12).sum(axis=1)), 1)
    assert (only_last | (hidden.sum(axis=1) == expected)).all()


def test_each_epoch_hides_others_and_some_of_the_last_alone():
    whole = whole_windows(sequences(*[range(6)] * 50), length=6, n_videos=12)
    first, again, second = (hide(whole, share=0.5, last_share=0.2, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert sorted(np.unique((first >= 0).sum(axis=1), return_counts=True)[1].tolist()) == [10, 40]
    # each position about as often as the others, the last in ten windows more
    assert (first[:, :5] >= 0).sum(axis=0).min() > 10
    assert (first[:, 5] >= 0).sum() > 10 + 10


def test_the_loss_is_the_softmaxs_at_the_hidden_positions():
    model, _ = fitted(epochs=1, mask_share=0.5)
    hidden = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
    targets = np.array([[-1, 3, -1, 0, 7, -1], [-1, -1, -1, -1, -1, 11]], np.int32)
    logits = hidden @ model.video_vectors().T
    chances = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    at = np.nonzero(targets >= 0)
    expected = -chances[(*at, targets[at])].mean()
    assert float(model._network.compute_loss(y=targets, y_pred=hidden)) == pytest.approx(expected, rel=1e-5)
