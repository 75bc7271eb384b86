import numpy as np

from models.itemknn import ItemKnn
from models.params import ItemKnnParams
from tests.models.histories import training
from tests.tasks.prepared_folder import sequences


def test_a_viewer_is_the_videos_watched_decayed_from_the_viewers_own_newest_event():
    model = ItemKnn(ItemKnnParams(half_life_days=1.0))
    model.fit(training([0, 1, 2]))
    vectors = model.viewer_vectors(sequences([2, 0, 1], [1], []))
    np.testing.assert_allclose(vectors.toarray(), [[0.5, 1, 0.25], [0, 1, 0], [0, 0, 0]])
