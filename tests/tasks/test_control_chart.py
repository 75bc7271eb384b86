import numpy as np
import pytest

from tasks.control_chart import Point, control_chart


def test_limits_are_three_standard_errors_of_each_windows_viewers():
    first = [Point(0.2, 0.3, 100), Point(0.2, 0.3, 100), Point(0.2, 0.3, 100)]
    chart = control_chart(
        [*first, Point(0.1, 0.3, 100), Point(0.1, 0.3, 25), Point(0.3, 0.0, 400)], baseline=3, sigmas=3
    )
    assert chart.centre == pytest.approx(0.2)
    assert chart.low == pytest.approx([0.11, 0.11, 0.11, 0.11, 0.02, 0.155])
    assert chart.high == pytest.approx([0.29, 0.29, 0.29, 0.29, 0.38, 0.245])
    assert chart.words == ["learning", "learning", "learning", "below", "in control", "above"]


def test_windows_that_differ_more_than_their_viewers_say_widen_the_limits():
    steady = control_chart([Point(0.2, 0.1, 100)] * 4, baseline=4, sigmas=3)
    restless = control_chart([Point(0.1, 0.1, 100), Point(0.3, 0.1, 100)] * 2, baseline=4, sigmas=3)
    # each window is ten standard errors from the centre: their ranges are 20
    assert restless.high[0] - 0.2 == pytest.approx((steady.high[0] - 0.2) * 20 / 1.128)


def test_the_centre_is_the_mean_over_viewers():
    assert control_chart([Point(0.1, 1, 300), Point(0.5, 1, 100), Point(0.2, 1, 2)], baseline=2, sigmas=3).centre == 0.2


def test_too_few_windows_have_no_limits():
    chart = control_chart([Point(0.1, 0.1, 10)] * 2, baseline=3, sigmas=3)
    assert (chart.centre, chart.low, chart.words) == (None, [None, None], ["learning", "learning"])
    assert control_chart([], baseline=3, sigmas=3).words == []


def test_equal_figures_leave_any_other_out_of_control():
    chart = control_chart([Point(0.5, 0.0, 10)] * 3 + [Point(0.4, 0.0, 10)], baseline=3, sigmas=3)
    assert chart.words[-1] == "below"


@pytest.mark.parametrize("days_sd", [0.0, 0.02])
def test_false_alarms_are_rare_and_a_fall_is_seen(days_sd):
    draw = np.random.default_rng(1)
    alarms, seen, runs = 0, 0, 500
    for _ in range(runs):
        level = 0.2 + days_sd * draw.standard_normal(28)
        level[-1] -= 0.15
        means = level + 0.3 / np.sqrt(400) * draw.standard_normal(28)
        words = control_chart([Point(mean, 0.3, 400) for mean in means], baseline=14, sigmas=3).words
        alarms += sum(word != "in control" for word in words[14:-1])
        seen += words[-1] == "below"
    # 13 windows a run; the limits rest on 14 windows themselves, so more than the 0.27 % of known limits
    assert alarms / (13 * runs) < 0.03
    assert seen / runs > 0.95
