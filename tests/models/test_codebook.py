import numpy as np
import pytest

from models.codebook import fit_codebook, nearest_code, squared_distances

GROUPS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])


def points():
    noise = np.random.default_rng(0).normal(scale=0.1, size=(3, 20, 2))
    return (GROUPS[:, None] + noise).reshape(-1, 2).astype(np.float32)


def test_centres_are_the_means_of_groups():
    centres = fit_codebook(points(), size=3, seed=0)
    order = nearest_code(GROUPS.astype(np.float32), centres)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(centres[order], points().reshape(3, 20, 2).mean(axis=1), atol=1e-5)


def test_a_point_has_the_code_of_its_group():
    codes = nearest_code(points(), fit_codebook(points(), size=3, seed=1)).reshape(3, 20)
    assert (codes == codes[:, :1]).all()
    assert codes.dtype == np.int32


def test_equal_points_and_seed_give_equal_bytes():
    one, two = (fit_codebook(points(), size=5, seed=3) for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_of_equally_near_centres_the_first_is_taken():
    centres = np.array([[-1.0], [1.0]], np.float32)
    assert nearest_code(np.zeros((2, 1), np.float32), centres).tolist() == [0, 0]


def test_every_point_may_have_a_centre_of_its_own():
    few = np.arange(4, dtype=np.float32)[:, None]
    assert sorted(fit_codebook(few, size=4, seed=0).ravel()) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [0, 3])
def test_more_centres_than_different_points_are_refused(size):
    twice = np.array([[0.0], [0.0], [1.0]], np.float32)
    with pytest.raises(ValueError, match=rf"size must lie in 1\.\.2, the different points\. Received: size={size}"):
        fit_codebook(twice, size=size, seed=0)


def test_distances_are_those_of_euclid():
    found = squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0]]))
    np.testing.assert_allclose(found, [[25.0], [0.0]], atol=1e-12)
