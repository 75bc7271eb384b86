import numpy as np
import pytest

from tasks import bootstrap
from tasks.bootstrap import paired_bootstrap


def interval(ours, theirs, *, resamples=500, seed=1, confidence=0.95):
    return paired_bootstrap(
        np.asarray(ours, np.float64),
        np.asarray(theirs, np.float64),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def test_the_same_figures_on_both_sides_leave_no_doubt():
    found = interval([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_a_constant_gain_is_certain_however_the_viewers_differ():
    base = np.random.default_rng(0).random(50)
    found = interval(base + 0.25, base)
    assert (found.low, found.high) == (pytest.approx(0.25), pytest.approx(0.25))


def test_the_same_seed_gives_the_same_interval_whatever_the_block(monkeypatch):
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(101), rng.random(101)
    whole = interval(ours, theirs, resamples=97)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 1000)
    assert interval(ours, theirs, resamples=97) == whole
    assert interval(ours, theirs, resamples=97, seed=2) != whole


def test_the_interval_is_as_wide_as_theory_says():
    difference = np.random.default_rng(3).normal(size=2000)
    found = interval(difference, np.zeros(2000), resamples=4000)
    error = difference.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(difference.mean() + 1.96 * error, abs=0.1 * error)


def lower_end_above_zero(effect, *, nights=300, viewers=200):
    """Share of simulated nights, each with new viewers, whose interval lies above 0."""
    rng = np.random.default_rng(11)
    above = 0
    for night in range(nights):
        skill = rng.random(viewers)
        noise = rng.normal(scale=0.3, size=(2, viewers))
        found = interval(skill + effect + noise[0], skill + noise[1], resamples=300, seed=night)
        above += found.low > 0
    return above / nights


def test_no_better_a_model_seldom_passes():
    assert lower_end_above_zero(0.0) <= 0.06  # 0.025 in theory


def test_a_better_model_nearly_always_passes():
    # Three standard errors of the mean difference: 3 * sqrt(2) * 0.3 / sqrt(200) = 0.09; power 0.85 in theory.
    assert 0.78 <= lower_end_above_zero(0.09) <= 0.92


@pytest.mark.parametrize(
    ("ours", "theirs", "received"),
    [
        ([], [], r"Received: \(0,\) and \(0,\)"),
        ([1.0], [1.0, 2.0], r"Received: \(1,\) and \(2,\)"),
        ([1.0, np.nan], [0.0, 0.0], "Received: 1 that are not"),
    ],
)
def test_sides_that_cannot_be_paired_are_refused(ours, theirs, received):
    with pytest.raises(ValueError, match=received):
        interval(ours, theirs)
