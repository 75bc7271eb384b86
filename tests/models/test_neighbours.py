"""Likenesses and the nearest, against the same written out dense, and by hand."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.neighbours import Neighbours, strongest
from models.params import NeighbourParams

SIMILARITIES = ["cosine", "pearson", "jaccard"]
WEIGHTS = st.sampled_from([0, 0, 0, 0.5, 1, 2])


def rows_of(n, m):
    return arrays(np.float32, (n, m), elements=WEIGHTS)


def dense_likeness(one, other, similarity, shrink):
    """The three formulas for two dense rows, float64: the oracle."""
    one, other = np.array(one, np.float64), np.array(other, np.float64)
    if similarity == "jaccard":
        both, either = ((one > 0) & (other > 0)).sum(), ((one > 0) | (other > 0)).sum()
        return both / (either + shrink) if either + shrink else 0.0
    if similarity == "pearson":
        one, other = one - one.mean(), other - other.mean()
    product, lengths = one @ other, np.linalg.norm(one) * np.linalg.norm(other)
    return product / (lengths + shrink) if product > 1e-12 else 0.0


def nearest(rows, others=None, **params):
    near = Neighbours(sp.csr_array(np.array(rows, np.float32)), NeighbourParams(**{"neighbours": 99, **params}))
    return (near.of_each_other() if others is None else near.of(sp.csr_array(np.array(others, np.float32)))).toarray()


@pytest.mark.parametrize(
    ("similarity", "shrink", "expected"),
    [
        ("cosine", 0.0, 6 / np.sqrt(9 * 5)),
        ("cosine", 2.0, 6 / (np.sqrt(9 * 5) + 2)),
        # less their means 5/4 and 3/4: 6 - 4 * 15/16 = 9/4; 9 - 4 * 25/16 = 11/4 and 5 - 4 * 9/16 = 11/4
        ("pearson", 0.0, 9 / 11),
        ("pearson", 1.0, 9 / 15),
        ("jaccard", 0.0, 2 / 3),
        ("jaccard", 3.0, 2 / 6),
    ],
)
def test_two_rows_by_hand(similarity, shrink, expected):
    found = nearest([[2, 2, 1, 0], [1, 2, 0, 0]], similarity=similarity, shrink=shrink)
    np.testing.assert_allclose(found, [[0, expected], [expected, 0]], rtol=1e-6)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@given(rows=rows_of(5, 6), others=rows_of(3, 6), shrink=st.sampled_from([0.0, 1.0, 25.0]))
def test_it_is_the_dense_formula(similarity, rows, others, shrink):
    expected = [[dense_likeness(a, b, similarity, shrink) for b in rows] for a in others]
    found = nearest(rows, others, similarity=similarity, shrink=shrink)
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-5, atol=1e-6)
    among = np.array([[dense_likeness(a, b, similarity, shrink) for b in rows] for a in rows]) * (1 - np.eye(5))
    found = nearest(rows, similarity=similarity, shrink=shrink)
    np.testing.assert_allclose(found, np.maximum(among, 0), rtol=1e-5, atol=1e-6)


@given(rows=arrays(np.float32, (4, 5), elements=st.integers(1, 9)), shift=st.integers(0, 1000))
def test_pearson_knows_no_shift(rows, shift):
    plain, shifted = (nearest(r, similarity="pearson", shrink=0.0) for r in (rows, rows + shift))
    np.testing.assert_allclose(shifted, plain, atol=1e-5)


@given(rows=rows_of(4, 6), scale=st.sampled_from([0.25, 2.0, 64.0]))
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_unshrunk_no_likeness_knows_scale(similarity, rows, scale):
    scaled = rows * np.array([scale, 1, 1, 1], np.float32)[:, None]
    plain, found = (nearest(r, similarity=similarity, shrink=0.0) for r in (rows, scaled))
    np.testing.assert_allclose(found, plain, atol=1e-6)


@given(rows=rows_of(6, 5), shrink=st.sampled_from([0.0, 3.0]))
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_each_is_symmetric_and_at_most_one(similarity, rows, shrink):
    found = nearest(rows, similarity=similarity, shrink=shrink)
    np.testing.assert_allclose(found, found.T, rtol=1e-6)
    assert found.max() <= 1 + 1e-6


@given(rows=rows_of(4, 6), weights=rows_of(4, 6))
def test_jaccard_sees_sets_and_no_weights(rows, weights):
    ones = (rows > 0).astype(np.float32)
    weighed = ones * (weights + 1)
    np.testing.assert_array_equal(nearest(weighed, similarity="jaccard"), nearest(ones, similarity="jaccard"))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rows_that_share_nothing_are_not_near(similarity):
    assert not nearest([[1, 1, 0, 0], [0, 0, 1, 1]], similarity=similarity, shrink=0.0).any()


def test_to_pearson_rows_without_variance_are_like_nothing():
    assert not nearest([[1, 1, 1], [1, 1, 1], [1, 0, 0]], similarity="pearson", shrink=0.0).any()
    thirds = np.full((2, 7), 1 / 3)
    assert not nearest(thirds, similarity="pearson", shrink=0.0).any()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_rows_of_nothing_are_like_nothing(similarity):
    assert not nearest(np.zeros((2, 3)), similarity=similarity, shrink=0.0).any()
    assert nearest(np.zeros((2, 3)), np.zeros((0, 3)), similarity=similarity).shape == (0, 2)
    assert nearest(np.zeros((2, 0)), similarity=similarity, shrink=0.0).shape == (2, 2)


@given(rows=rows_of(7, 5), others=rows_of(4, 5), keep=st.integers(1, 8))
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_nearest_are_the_largest_and_of_equals_the_first(similarity, rows, others, keep):
    whole = nearest(rows, others, similarity=similarity)
    expected = np.zeros_like(whole)
    for row, kept in zip(whole, expected, strict=True):
        best = np.argsort(-row, kind="stable")[:keep]
        kept[best] = row[best]
    np.testing.assert_array_equal(nearest(rows, others, similarity=similarity, neighbours=keep), expected)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_blocks_change_nothing(similarity, monkeypatch):
    draw = np.random.default_rng(2)
    rows, others = (draw.integers(0, 3, (n, 12)) * (draw.random((n, 12)) < 0.4) for n in (23, 10))
    whole = nearest(rows, neighbours=4, similarity=similarity), nearest(rows, others, similarity=similarity)
    monkeypatch.setattr("models.neighbours.ENTRIES_A_BLOCK", 50)
    np.testing.assert_array_equal(nearest(rows, neighbours=4, similarity=similarity), whole[0])
    np.testing.assert_array_equal(nearest(rows, others, similarity=similarity), whole[1])


def test_the_strongest_keep_their_order_of_columns():
    values, targets, sources = np.array([0.5, 0.9, 0.5, 0.1]), np.array([0, 0, 0, 2]), np.array([3, 1, 2, 0])
    table = strongest(values, targets, sources, shape=(3, 4), keep=2)
    assert table.indices.tolist() == [1, 2, 0]
    assert table.indptr.tolist() == [0, 2, 2, 3]
    np.testing.assert_allclose(table.data, [0.9, 0.5, 0.1])


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_memory_is_bounded_by_the_block_and_not_by_the_square(similarity, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("models.neighbours.ENTRIES_A_BLOCK", 1 << 16)
    draw = np.random.default_rng(4)
    rows = sp.random_array((4000, 60), density=0.1, format="csr", dtype=np.float32, rng=draw)
    near = Neighbours(rows, NeighbourParams(similarity=similarity, neighbours=5))
    tracemalloc.start()
    near.of_each_other()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    results = 4000 * 5 * 8 * 3  # the kept, in blocks and stacked
    assert peak < (1 << 16) * 100 + results  # the square would be 4000 * 4000 * 8 bytes, 128 MB
