"""When the live release is taken back: after exactly so many windows in a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadInput
from lineage.windows import Measure
from tasks.auto_rollback import broken, chart_centre, compared, reason, refuse_unknown_metric
from tasks.monitor_params import Monitor, Rollback
from tasks.params import Evaluate, Gate
from tests.lineage.test_windows import window

PARAMS = Monitor(baseline_windows=3)


def live(*values, popular=0.1):
    return [
        window(
            f"2026-11-{at:02}",
            live={"ndcg@10": Measure(mean=value, sd=0.1), "hit@10": Measure(mean=1.0, sd=0.0)},
            popularity={"ndcg@10": Measure(mean=popular, sd=0.1), "hit@10": Measure(mean=0.5, sd=0.0)},
        )
        for at, value in enumerate(values, start=1)
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 4))
def test_due_means_that_the_newest_windows_all_break_the_bound(bad, wanted):
    made = live(*(0.01 if is_bad else 0.2 for is_bad in bad))
    found = broken(made, made, PARAMS, Rollback(below=0.5, windows=wanted))
    streak = next((at for at, is_bad in enumerate(reversed(bad)) if not is_bad), len(bad))
    assert len(found.windows) == streak
    assert found.due == (streak >= wanted)


def test_the_bound_is_a_share_of_popularity_on_the_same_days():
    made = live(0.06, popular=0.1)
    assert not broken(made, made, PARAMS, Rollback(below=0.5, windows=1)).due
    found = broken(made, made, PARAMS, Rollback(below=0.7, windows=1))
    assert (found.due, found.references, found.metric) == (True, [0.1], "ndcg@10")
    assert not broken(made, made, PARAMS, Rollback(below=0.7, windows=1, metric="hit@10")).due


def test_the_charts_centre_is_learnt_before_it_binds():
    rule = Rollback(below=0.5, windows=1, reference="centre")
    short = live(0.4, 0.01)
    assert chart_centre(short, "ndcg@10", PARAMS) is None
    assert not broken(short, short, PARAMS, rule).due
    made = live(0.4, 0.4, 0.4, 0.1)
    assert broken(made[3:], made, PARAMS, rule).references == [pytest.approx(0.4)]


def test_the_other_release_is_compared_viewer_by_viewer():
    draw = np.random.default_rng(0)
    worse = [draw.random(50), draw.random(30)]
    gain = compared([figures + 0.25 for figures in worse], worse, gate=Gate(), seed=1)
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.25, 0.25, 0.25))


def test_the_reason_names_bound_and_figures():
    made = live(0.01, 0.02)
    rule = Rollback(below=0.5, windows=2)
    found = broken(made, made, PARAMS, rule)
    gain = compared([np.full(3, 0.5)], [np.zeros(3)], gate=Gate(), seed=0)
    assert reason(found, rule, gain) == (
        "ndcg@10 was below 0.5 of popularity in 2 windows in a row, 2026-11-01 to 2026-11-02 (0.0100 against 0.5 x "
        "0.1000, 0.0200 against 0.5 x 0.1000); on them the other release is better by 0.5000 (0.5000 to 0.5000)"
    )


def test_a_metric_that_nobody_is_judged_by_is_refused():
    refuse_unknown_metric(Rollback(below=1, metric="hit@5"), Evaluate())
    refuse_unknown_metric(None, Evaluate())
    with pytest.raises(BadInput, match=r"^monitor\.rollback\.metric must be one of ndcg@5, .*Received: 'ndcg@7'$"):
        refuse_unknown_metric(Rollback(below=1, metric="ndcg@7"), Evaluate())
