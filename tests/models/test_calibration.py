import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from models.calibration import Line, calibration_error, fit_chances, fit_values


def test_chances_that_are_too_sure_are_brought_back():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=20_000).astype(np.float32)
    labels = (rng.random(20_000) < expit(0.5 * logits - 1)).astype(np.float32)
    line = fit_chances(logits, labels)
    assert line.slope == pytest.approx(0.5, abs=0.05)
    assert line.offset == pytest.approx(-1, abs=0.05)
    assert calibration_error(expit(line(logits)), labels) < 0.01 < calibration_error(expit(logits), labels)


def test_labels_that_part_cleanly_give_a_finite_line():
    line = fit_chances(np.array([-1, -2, 1, 2], np.float32), np.array([0, 0, 1, 1], np.float32))
    assert 1 < line.slope < 100
    assert line.offset == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_labels_of_one_kind_change_nothing(labels):
    assert fit_chances(np.zeros(len(labels), np.float32), np.array(labels, np.float32)) == Line()


def test_values_are_brought_onto_the_truth_by_least_squares():
    line = fit_values(np.array([0, 1, 2], np.float32), np.array([1, 3, 5], np.float32))
    assert (line.slope, line.offset) == (pytest.approx(2), pytest.approx(1))
    assert fit_values(np.array([4, 4], np.float32), np.array([1, 2], np.float32)) == Line()


@given(st.floats(0.1, 10), st.floats(-10, 10), st.floats(-10, 10))
def test_a_line_and_what_undoes_it(slope, offset, value):
    line = Line(slope, offset)
    there_and_back = line.back().after(line)
    assert (there_and_back.slope, there_and_back.offset) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    values = np.array([value], np.float32)
    np.testing.assert_allclose(line.back()(line(values)), values, rtol=1e-3, atol=1e-3)


def test_a_unit_line_gives_mean_0_and_deviation_1():
    values = np.array([1, 2, 3, 6], np.float32)
    told = Line.to_unit(values)(values)
    assert told.mean() == pytest.approx(0, abs=1e-6)
    assert told.std() == pytest.approx(1)
    np.testing.assert_array_equal(Line.to_unit(np.array([5, 5], np.float32))(np.array([5], np.float32)), [0])


def test_the_calibration_error_is_the_mean_distance_by_bin():
    chances = np.array([0.1, 0.1, 0.9, 0.9], np.float32)
    labels = np.array([0, 1, 1, 1], np.float32)
    assert calibration_error(chances, labels, bins=2) == pytest.approx((0.4 + 0.1) / 2)
    assert calibration_error(chances[:0], labels[:0]) == 0
