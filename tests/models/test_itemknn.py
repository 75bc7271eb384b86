import numpy as np
import pytest

from models.itemknn import ItemKnn
from models.params import ItemKnnParams
from tests.models.histories import saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences

WATCHED = ([0, 1], [0, 1, 2], [2, 3])


def table(**params):
    model = ItemKnn(ItemKnnParams(**params))
    model.fit(training(*WATCHED))
    return model.video_vectors().toarray()


def test_likeness_is_the_cosine_of_who_watched():
    half, root = 1 / 2, 1 / np.sqrt(2)
    expected = [[0, 1, half, 0], [1, 0, half, 0], [half, half, 0, root], [0, 0, root, 0]]
    np.testing.assert_allclose(table(shrink=0.0), expected, rtol=1e-6)


def test_shrinkage_distrusts_what_few_viewers_vouch_for():
    np.testing.assert_allclose(table(shrink=2.0)[0], [0, 2 / 4, 1 / 4, 0], rtol=1e-6)


def test_only_the_nearest_are_kept_and_ties_go_to_the_lower_index():
    kept = table(shrink=0.0, neighbours=1)
    np.testing.assert_array_equal(kept.argmax(axis=1), [1, 0, 3, 2])
    np.testing.assert_array_equal((kept > 0).sum(axis=1), [1, 1, 1, 1])
    model = ItemKnn(ItemKnnParams(shrink=0.0, neighbours=1))
    model.fit(training([0, 1, 2], [0, 1, 2]))
    np.testing.assert_array_equal(model.video_vectors().indices, [1, 0, 0])


def test_a_viewer_of_no_training_is_scored_from_history():
    model = ItemKnn(ItemKnnParams(shrink=0.0))
    model.fit(training(*WATCHED))
    np.testing.assert_allclose(scores(model, sequences([3], [0, 1])), [[0, 0, 0.5**0.5, 0], [1, 1, 1, 0]], rtol=1e-6)


@pytest.mark.parametrize("watched", [[[0]], [[0], []], [[], []]])
def test_a_catalogue_of_one_video_has_no_neighbours(watched):
    model = ItemKnn(ItemKnnParams())
    model.fit(training(*watched, n_videos=1))
    assert model.video_vectors().toarray().tolist() == [[0]]


def test_blocks_change_nothing(monkeypatch):
    whole = table(shrink=1.0, neighbours=2)
    monkeypatch.setattr("models.neighbours.ENTRIES_A_BLOCK", 5)
    np.testing.assert_array_equal(table(shrink=1.0, neighbours=2), whole)


def test_what_was_saved_loads_to_the_same_bytes(tmp_path):
    model = ItemKnn(ItemKnnParams(neighbours=2))
    model.fit(training(*WATCHED))
    assert saved_bytes(ItemKnn.load(_saved(model, tmp_path / "a")), tmp_path / "b") == saved_bytes(
        model, tmp_path / "c"
    )


def _saved(model, folder):
    model.save(folder)
    return folder
