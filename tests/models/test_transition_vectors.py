import numpy as np
import scipy.sparse as sp

from models.transition_vectors import positive_pmi, transition_vectors

STEPS = np.array([[7, 3, 0, 0], [1, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 9]])  # nobody moves to or from the last


def plain_pmi(counts):
    """Pair by pair: the oracle."""
    total, marginal = counts.sum(), counts.sum(axis=1)
    found = np.zeros(counts.shape)
    for i, j in np.argwhere(counts):
        found[i, j] = max(np.log(counts[i, j] * total / (marginal[i] * marginal[j])), 0)
    return found


def test_the_pmi_is_that_of_the_counts_one_by_one():
    counts = np.array([[0, 4, 1], [4, 0, 3], [1, 3, 0]])
    found = positive_pmi(sp.csr_array(counts.astype(np.float64))).toarray()
    np.testing.assert_allclose(found, plain_pmi(counts), rtol=1e-12)
    assert found[0, 2] == 0  # 1 * 16 / (5 * 4) is below 1


def test_vectors_are_the_scaled_singular_vectors_of_the_pmi_of_moves():
    found = transition_vectors(sp.csr_array(STEPS), dim=5)
    moves = STEPS + STEPS.T
    np.fill_diagonal(moves, 0)
    left, values, _ = np.linalg.svd(plain_pmi(moves[:3, :3]))
    np.testing.assert_allclose(found[:3] @ found[:3].T, (left * values) @ left.T, atol=1e-6)
    assert not found[3].any()
    assert not found[:, 3:].any()  # beyond the rank
    assert all(column[np.abs(column).argmax()] > 0 for column in found[:3, :2].T)


def test_a_large_graph_has_the_leading_values_of_a_whole_decomposition():
    draw = np.random.default_rng(0)
    near = draw.poisson(3 * np.exp(-np.abs(np.subtract.outer(np.arange(300), np.arange(300))) / 5))
    steps = sp.csr_array(near.astype(np.int64))
    moves = near + near.T
    np.fill_diagonal(moves, 0)
    wanted = np.linalg.svd(plain_pmi(moves), compute_uv=False)[:8]
    found = transition_vectors(steps, dim=8)
    np.testing.assert_allclose((found.astype(np.float64) ** 2).sum(axis=0), wanted, rtol=1e-5)


def test_vectors_are_the_same_bits_twice():
    steps = sp.random_array((400, 400), density=0.05, rng=1, data_sampler=lambda size: np.ones(size, np.int64))
    first, second = (transition_vectors(sp.csr_array(steps), dim=16).tobytes() for _ in range(2))
    assert first == second


def test_no_step_gives_zeros():
    assert transition_vectors(sp.csr_array((24, 24), dtype=np.int64), dim=3).tolist() == [[0, 0, 0]] * 24
    assert transition_vectors(sp.csr_array((0, 0), dtype=np.int64), dim=3).shape == (0, 3)
