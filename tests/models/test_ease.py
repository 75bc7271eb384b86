import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ease import Ease
from models.params import EaseParams
from models.protocol import Diverged
from tests.models.histories import saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences


def plain_ease(watched, n_videos, l2):
    """Steck's formula in NumPy, float64: the oracle."""
    x = np.zeros((len(watched), n_videos))
    for viewer, videos in enumerate(watched):
        x[viewer, videos] = 1
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(n_videos))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


def fitted(watched, n_videos, **params):
    model = Ease(EaseParams(**params))
    model.fit(training(*watched, n_videos=n_videos))
    return model


@given(st.lists(st.lists(st.integers(0, 11), max_size=8), min_size=1, max_size=12), st.floats(0.5, 500))
def test_untruncated_it_is_the_closed_form(watched, l2):
    table = fitted(watched, 12, l2=l2, neighbours=12).video_vectors().toarray()
    np.testing.assert_allclose(table.T, plain_ease(watched, 12, l2), atol=1e-4)


def test_a_catalogue_larger_than_a_block_is_solved_the_same():
    draw = np.random.default_rng(3)
    watched = [draw.choice(600, 40, replace=False).tolist() for _ in range(300)]
    table = fitted(watched, 600, l2=20.0, neighbours=600).video_vectors().toarray()
    np.testing.assert_allclose(table.T, plain_ease(watched, 600, 20.0), atol=1e-4)


def test_two_videos_by_hand():
    # X'X + I = [[3, 1], [1, 2]], its inverse [[2, -1], [-1, 3]] / 5: B_01 = 1/3, B_10 = 1/2
    model = fitted([[0, 1], [0]], 2, l2=1.0, neighbours=1)
    np.testing.assert_allclose(scores(model, sequences([0], [1])), [[0, 1 / 3], [1 / 2, 0]], rtol=1e-6)


def test_the_strongest_weights_of_each_video_are_kept_negative_ones_too():
    draw = np.random.default_rng(5)
    watched = [draw.choice(30, 10, replace=False).tolist() for _ in range(50)]
    full = plain_ease(watched, 30, 1.0).T
    kept = fitted(watched, 30, l2=1.0, neighbours=4).video_vectors().toarray()
    assert (kept < 0).any()
    for row, all_of_row in zip(kept, full, strict=True):
        assert set(np.flatnonzero(row)) == set(np.argsort(-np.abs(all_of_row))[:4])
        np.testing.assert_allclose(row[row != 0], all_of_row[row != 0], atol=1e-5)


def test_old_events_count_less_when_a_half_life_is_set():
    # viewer 0 watched 0 and 1 on days 0 and 1, decayed to 0.5 and 1: X'X + I = [[1.25, 0.5], [0.5, 2]]
    model = fitted([[0, 1]], 2, l2=1.0, neighbours=1, half_life_days=1.0)
    np.testing.assert_allclose(model.video_vectors().toarray(), [[0, 0.5 / 2], [0.5 / 1.25, 0]], rtol=1e-6)


def test_an_empty_history_scores_nothing():
    np.testing.assert_array_equal(scores(fitted([[0, 1], [0]], 2), sequences([])), [[0, 0]])


def test_a_catalogue_of_one_video_has_no_weights(tmp_path):
    model = fitted([[0], [0]], 1)
    assert scores(model, sequences([0])).tolist() == [[0]]
    model.save(tmp_path)
    assert scores(Ease.load(tmp_path), sequences([0])).tolist() == [[0]]


def test_a_matrix_that_float32_cannot_solve_fails_the_candidate():
    data = training([0, 1], [1, 0])
    data.train.weights[:] = np.float32(3e38)
    with pytest.raises(Diverged, match="not positive definite"):
        Ease(EaseParams()).fit(data)


def test_what_was_saved_loads_to_the_same_bytes(tmp_path):
    first = saved_bytes(fitted([[0, 1, 2], [0, 2], [3]], 4, neighbours=2), tmp_path / "a")
    assert saved_bytes(Ease.load(tmp_path / "a"), tmp_path / "b") == first
