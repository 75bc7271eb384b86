import numpy as np

from models.item_to_item import watched_matrix
from models.itemknn import ItemKnn
from models.params import ItemKnnParams
from tests.models.histories import training
from tests.tasks.prepared_folder import sequences


def test_of_several_events_of_one_pair_the_strongest_counts():
    watched = watched_matrix(sequences([2, 0, 2], [], [1]), np.array([0.5, 1, 0.25, 2]), n_videos=3)
    np.testing.assert_array_equal(watched.toarray(), [[1, 0, 0.5], [0, 0, 0], [0, 2, 0]])


def test_a_viewer_is_the_videos_watched_decayed_from_the_viewers_own_newest_event():
    model = ItemKnn(ItemKnnParams(half_life_days=1.0))
    model.fit(training([0, 1, 2]))
    vectors = model.viewer_vectors(sequences([2, 0, 1], [1], []))
    np.testing.assert_allclose(vectors.toarray(), [[0.5, 1, 0.25], [0, 1, 0], [0, 0, 0]])
