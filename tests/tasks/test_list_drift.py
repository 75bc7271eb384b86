import numpy as np
import pytest

from tasks.list_drift import concentration, list_drift, popularity_rank


def test_same_lists_have_not_moved():
    lists = np.array([[0, 1], [2, 3]], np.int32)
    assert [(each.what, each.observed) for each in list_drift(lists, lists, np.array([9, 5, 2, 1]))] == [
        ("coverage", 0.0),
        ("popularity", 0.0),
        ("concentration", 0.0),
    ]


def test_lists_that_all_became_one_lose_coverage_and_gain_popularity():
    then, now = np.array([[0, 1], [2, 3]], np.int32), np.array([[0, 1], [0, 1]], np.int32)
    coverage, popularity, gini = list_drift(now, then, np.array([9, 5, 2, 1]))
    assert (coverage.then, coverage.now, coverage.observed) == (4, 2, 0.5)
    assert popularity.observed == pytest.approx(5 / 6 - 1 / 2)
    assert (gini.then, gini.now) == (0.0, 0.5)


def test_a_place_without_a_video_counts_nothing():
    then, now = np.array([[0, 1]], np.int32), np.array([[0, -1]], np.int32)
    assert list_drift(now, then, np.array([1, 1]))[0].observed == 0.5
    assert list_drift(np.array([[-1]], np.int32), then, np.array([1, 1])) == []


def test_ranks_share_ties():
    assert popularity_rank(np.array([5, 1, 1, 9])).tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6, 1])


def test_concentration_is_the_gini_coefficient():
    assert concentration(np.array([3, 3, 3])) == pytest.approx(0)
    assert concentration(np.array([0, 0, 0, 8])) == 0.75
    counts = np.random.default_rng(0).integers(0, 50, 40)
    pairs = np.abs(counts[:, None] - counts[None, :]).sum()
    assert concentration(counts) == pytest.approx(pairs / (2 * 40 * counts.sum()))
    assert concentration(np.zeros(3, np.int64)) == 0
