import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from tasks.divergence import chance_divergence, chance_index, jensen_shannon
from tasks.drift import HALF, stability_index

COUNTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=30)


def both(pairs):
    new, old = np.array(pairs, np.int64).T
    return new, old


@given(COUNTS.filter(lambda pairs: all(np.array(pairs).sum(axis=0) > 0)))
def test_jensen_shannon_is_the_square_of_scipys_distance(pairs):
    new, old = both(pairs)
    assert jensen_shannon(new, old) == pytest.approx(jensenshannon(new, old, base=2) ** 2, abs=1e-12)
    assert jensen_shannon(new, old) == pytest.approx(jensen_shannon(old, new), abs=1e-12)


@given(COUNTS.filter(lambda pairs: np.array(pairs).sum() > 0))
def test_stability_index_is_both_relative_entropies(pairs):
    from scipy.stats import entropy

    new, old = both([pair for pair in pairs if sum(pair)])
    expected = entropy(new + HALF, old + HALF) + entropy(old + HALF, new + HALF)
    assert stability_index(new, old) == pytest.approx(expected, abs=1e-9)


def test_ends_of_the_scale():
    one, other, nothing = np.array([5, 0]), np.array([0, 9]), np.array([0, 0])
    assert jensen_shannon(one, one * 3) == 0.0
    assert jensen_shannon(one, other) == 1.0
    assert jensen_shannon(one, nothing) == 0.0
    assert chance_index(one, one, significance=0.01) == 0.0
    assert chance_index(one, nothing, significance=0.01) == 0.0


@pytest.mark.parametrize("size", [200, 2000])
def test_chance_is_exceeded_as_often_as_it_says(size):
    draw = np.random.default_rng(4)
    shares, runs, alarms = draw.dirichlet(np.full(10, 5.0)), 2000, np.zeros(2)
    for _ in range(runs):
        new, old = draw.multinomial(size, shares), draw.multinomial(20_000, shares)
        alarms += [
            stability_index(new, old) > chance_index(new, old, significance=0.05),
            jensen_shannon(new, old) > chance_divergence(new, old, significance=0.05),
        ]
    assert (np.abs(alarms / runs - 0.05) < 0.02).all(), alarms / runs
