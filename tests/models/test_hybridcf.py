import numpy as np
import pytest

from models.hybridcf import HybridCf
from models.itemknn import ItemKnn
from models.params import HybridCfParams, ItemKnnParams, NeighbourParams, UserKnnParams
from models.userknn import UserKnn
from tests.models.histories import scores, training
from tests.tasks.prepared_folder import sequences

WATCHED = ([0, 1], [0, 1, 2], [2, 3], [3, 4, 1])
ITEMS, USERS = {"similarity": "jaccard", "shrink": 1.0, "neighbours": 3}, {"similarity": "pearson", "shrink": 0.5}


def fitted(weight, watched=WATCHED):
    model = HybridCf(HybridCfParams(weight=weight, items=NeighbourParams(**ITEMS), users=NeighbourParams(**USERS)))
    model.fit(training(*watched))
    return model


def sides(histories):
    """Both sides' scores, each viewer's divided by their length over what was not watched."""
    for model in (ItemKnn(ItemKnnParams(**ITEMS)), UserKnn(UserKnnParams(**USERS))):
        model.fit(training(*WATCHED))
        found = scores(model, histories).astype(np.float64)
        unseen = found.copy()
        unseen[histories.viewer_of_event(), histories.videos] = 0
        yield found / np.linalg.norm(unseen, axis=1, keepdims=True)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_it_is_the_two_models_blended_each_of_length_one_over_the_unseen(weight):
    histories = sequences([0], [1, 2], [4, 0])
    items, users = sides(histories)
    expected = (1 - weight) * items + weight * users
    np.testing.assert_allclose(scores(fitted(weight), histories), expected, rtol=1e-5, atol=1e-6)


def test_two_videos_by_hand():
    # both sides know of video 1 by the one viewer: each has but that score over the unseen, so each is 1 there
    model = HybridCf(HybridCfParams(weight=0.3))
    model.fit(training([0, 1]))
    assert scores(model, sequences([0]))[0, 1] == pytest.approx(1)


def test_a_side_without_a_score_leaves_the_others():
    # who has watched everything has nothing unseen, so no length to divide by
    found = scores(fitted(0.5), sequences([0, 1, 2, 3, 4], []))
    np.testing.assert_array_equal(found, np.zeros((2, 5)))


def test_blocks_change_nothing(monkeypatch):
    histories = sequences([0], [1, 2], [4, 0], [], [3])
    whole = scores(fitted(0.5), histories)
    monkeypatch.setattr("models.hybridcf.ENTRIES_A_BLOCK", 10)
    np.testing.assert_array_equal(scores(fitted(0.5), histories), whole)
