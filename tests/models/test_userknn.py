import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.params import UserKnnParams
from models.ranking import top_k
from models.userknn import UserKnn
from tests.models.histories import scores, training
from tests.models.test_neighbours import SIMILARITIES, dense_likeness
from tests.tasks.prepared_folder import sequences

WATCHED = ([0, 1], [0, 1, 2], [2, 3])


def fitted(*watched, n_videos=None, **params):
    model = UserKnn(UserKnnParams(**params))
    model.fit(training(*watched, n_videos=n_videos))
    return model


def plain_userknn(watched, folded, n_videos, similarity, shrink, neighbours):
    """Dense, float64: the oracle."""
    x, q = np.zeros((len(watched), n_videos)), np.zeros((len(folded), n_videos))
    for matrix, rows in ((x, watched), (q, folded)):
        for row, videos in zip(matrix, rows, strict=True):
            row[videos] = 1
    found = np.zeros((len(q), n_videos))
    for row, viewer in zip(found, q, strict=True):
        likeness = np.array([max(0, dense_likeness(viewer, other, similarity, shrink)) for other in x])
        for other in np.argsort(-np.round(likeness, 9), kind="stable")[:neighbours]:
            row += likeness[other] * x[other]
    return found


def test_a_viewer_is_scored_by_the_likeness_of_who_watched():
    # {2}: |x| = 1, cosines 0, 1 / sqrt(3) and 1 / sqrt(2)
    third, half = 1 / np.sqrt(3), 1 / np.sqrt(2)
    found = scores(fitted(*WATCHED, shrink=0.0), sequences([2]))
    np.testing.assert_allclose(found, [[third, third, third + half, half]], rtol=1e-6)


def test_only_the_nearest_viewers_speak():
    found = scores(fitted(*WATCHED, shrink=0.0, neighbours=1), sequences([2]))
    np.testing.assert_allclose(found, [[0, 0, 0.5**0.5, 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize(("similarity", "expected"), [("cosine", 1 / (2**0.5 + 1)), ("jaccard", 1 / (2 + 1))])
def test_likeness_is_shrunk(similarity, expected):
    found = scores(fitted([0, 1], similarity=similarity, shrink=1.0), sequences([0]))
    np.testing.assert_allclose(found, [[expected, expected]], rtol=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(
    watched=st.lists(st.lists(st.integers(0, 7), max_size=6), min_size=1, max_size=9),
    folded=st.lists(st.lists(st.integers(0, 7), max_size=6), min_size=1, max_size=4),
    neighbours=st.integers(1, 10),
)
def test_it_is_the_dense_formula(similarity, watched, folded, neighbours):
    model = fitted(*watched, n_videos=8, similarity=similarity, shrink=2.0, neighbours=neighbours)
    expected = plain_userknn(watched, folded, 8, similarity, 2.0, neighbours)
    np.testing.assert_allclose(scores(model, sequences(*folded)), expected, rtol=1e-5, atol=1e-6)


def test_the_space_has_one_axis_a_training_viewer():
    model = fitted([0, 1], [], [1])
    assert model.viewer_vectors(sequences([0], [1])).shape == (2, 3)
    np.testing.assert_array_equal(model.video_vectors().toarray(), [[1, 0, 0], [1, 0, 1]])


def test_a_training_viewer_finds_itself_and_nothing_new_by_that():
    model = fitted([0, 1], [2, 3], shrink=0.0)
    seen = sequences([0, 1])
    _, found = top_k(model.viewer_vectors(seen), model.video_vectors(), seen, 4)
    np.testing.assert_array_equal(found, [[0, 0, -np.inf, -np.inf]])


def test_old_events_of_training_viewers_count_less():
    model = fitted([0, 1], half_life_days=1.0)
    np.testing.assert_array_equal(model.video_vectors().toarray(), [[0.5], [1]])
