import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.pareto import pareto_front

FIGURES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8)


def test_what_is_dearer_and_no_better_is_not_on_the_front():
    quality = np.array([0.04, 0.05, 0.05, 0.06])
    seconds = np.array([[1.0], [2.0], [3.0], [90.0]])
    assert pareto_front(quality, seconds).tolist() == [True, True, False, True]


def test_equals_stay_both():
    assert pareto_front(np.array([1.0, 1.0]), np.array([[2.0], [2.0]])).tolist() == [True, True]


@given(FIGURES)
def test_a_row_is_off_the_front_when_another_dominates_it(rows):
    def dominates(one, other):
        no_worse = one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2]
        return no_worse and one != other

    table = np.array(rows, np.float64)
    expected = [not any(dominates(other, row) for other in rows) for row in rows]
    assert pareto_front(table[:, 0], table[:, 1:]).tolist() == expected
