import numpy as np

from models.decay import DAY_MS as DAY
from models.watched import compared, watched_by, watched_matrix, watched_until
from tests.tasks.prepared_folder import sequences


def test_of_several_events_of_one_pair_the_strongest_counts():
    watched = watched_matrix(sequences([2, 0, 2], [], [1]), np.array([0.5, 1, 0.25, 2]), n_videos=3)
    np.testing.assert_array_equal(watched.toarray(), [[1, 0, 0.5], [0, 0, 0], [0, 2, 0]])


def test_what_is_learnt_from_is_decayed_until_now_and_weighed():
    histories = sequences([2, 0], [1])
    histories.weights[:] = [1, 3, 2]
    watched = watched_until(histories, 2 * DAY, n_videos=3, half_life_days=1.0)
    np.testing.assert_array_equal(watched.toarray(), [[3 / 2, 0, 1 / 4], [0, 2 / 4, 0]])
    assert watched_until(histories, 9 * DAY, n_videos=3, half_life_days=None).toarray().max() == 3


def test_what_is_folded_in_is_decayed_from_the_viewers_own_newest_event():
    watched = watched_by(sequences([2, 0, 1], [1], []), n_videos=3, half_life_days=1.0)
    np.testing.assert_array_equal(watched.toarray(), [[0.5, 1, 0.25], [0, 1, 0], [0, 0, 0]])


def test_videos_are_compared_by_each_viewers_newest_events_alone(monkeypatch):
    monkeypatch.setattr("models.watched.COMPARED", 2)
    histories = sequences([2, 0, 1, 0], [1], [], [2, 1])
    histories.weights[:] = [1, 3, 2, 1, 4, 5, 6]
    watched = watched_matrix(histories, histories.weights, n_videos=3)
    np.testing.assert_array_equal(compared(watched, histories).toarray(), [[3, 2, 0], [0, 4, 0], [0] * 3, [0, 6, 5]])
    short = sequences([2, 0], [1])
    watched = watched_matrix(short, short.weights, n_videos=3)
    assert compared(watched, short) is watched
