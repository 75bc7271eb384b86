import numpy as np

from models.places import Places

HOUR = 3_600_000


def test_vectors_are_found_by_region_and_hour_of_the_day():
    vectors = np.arange(2 * 24, dtype=np.float32).reshape(48, 1)
    places = Places.of(np.array([9, 4], np.int32), vectors)
    assert places.codes.tolist() == [4, 9]
    asked = np.array([9, 4, 5, -1], np.int32), np.array([3, 24 + 1, 0, 0]) * HOUR
    assert places.vectors_of(*asked)[:, 0].tolist() == [3, 24 + 1, 0, 0]


def test_without_regions_there_are_no_columns():
    assert Places.none().vectors_of(np.array([1], np.int32), np.array([0])).shape == (1, 0)
