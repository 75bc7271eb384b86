import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.classification import accuracy, macro_f1


def test_macro_f1_counts_each_label_the_same():
    # a: precision 2/3, recall 1 -> 0.8; b: never guessed -> 0; c: 1
    assert macro_f1(["a", "a", "b", "c"], ["a", "a", "a", "c"]) == pytest.approx((0.8 + 0 + 1) / 3)
    assert macro_f1([], []) == 0.0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1))
def test_macro_f1_is_that_of_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, guess = zip(*pairs, strict=True)
    labels = sorted(set(truth))
    expected = metrics.f1_score(truth, guess, labels=labels, average="macro", zero_division=0)
    assert macro_f1(truth, guess) == pytest.approx(expected)


def test_macro_f1_and_accuracy_by_hand():
    predicted, labels = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])
    # category 0: precision 1/2, recall 1; category 1: 1/2, 1/2; category 2: never found
    assert macro_f1(labels, predicted) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert accuracy(labels, predicted) == 0.5
