import numpy as np

from models.decay import decay

DAY = 86_400_000


def test_an_event_counts_half_after_each_half_life():
    np.testing.assert_allclose(decay(np.array([0, 10, 20]) * DAY, half_life_days=10), [1, 0.5, 0.25])


def test_without_half_life_all_events_count_the_same():
    np.testing.assert_array_equal(decay(np.array([0, 10**15]), half_life_days=None), [1, 1])


def test_an_event_of_the_future_counts_as_new():
    np.testing.assert_array_equal(decay(np.array([-5 * DAY]), half_life_days=1), [1])
