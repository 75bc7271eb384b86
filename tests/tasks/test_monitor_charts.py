"""Windows as rows, their page, and their file for Prometheus."""

import re
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.errors import BadInput
from lineage.windows import Drift, Measure
from tasks.monitor_charts import charted
from tasks.monitor_metrics import leave_metrics
from tasks.monitor_params import Monitor
from tasks.monitor_plot import monitor_page
from tests.lineage.test_windows import RELEASE, window

PARAMS = Monitor(baseline_windows=3)
DRIFT = Drift(about="events", what="<hour>", statistic="psi", observed=0.5, noise=0.1, usual=0.3)


def made(*values, popular=0.1, gains=None):
    return [
        window(
            f"2026-11-{at:02}",
            viewers=100,
            live={"ndcg@10": Measure(mean=value, sd=0.1)},
            popularity={"ndcg@10": Measure(mean=popular, sd=0.1)},
            gain=Measure(mean=(gains or values)[at - 1], sd=0.1),
            drift=(DRIFT,),
        )
        for at, value in enumerate(values, start=1)
    ]


def told(rows, drift, said):
    return {
        "status": "watched", "name": "kuairand", "release": RELEASE, "seq": 1, "candidate": "ease",
        "as_of": "2026-10-31", "primary": "ndcg@10", "new": 1, "windows": rows, "drift": drift,
        "waiting": [], "said": said, "evidence": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "meaning"),
    [
        (0.0, "so is its gain over popularity: it is the model"),
        (0.3, "its gain over popularity is not: a bad day for all"),
    ],
)
def test_a_bad_day_for_all_is_told_from_a_bad_model(gain, meaning):
    past = made(0.3, 0.3, 0.3, 0.1, gains=[0.3, 0.3, 0.3, gain])
    rows, drift, said = charted(past, past, PARAMS)
    assert [row["chart"] for row in rows] == ["learning", "learning", "learning", "below"]
    assert said[0] == f"ndcg@10 0.1000 up to 2026-11-04 is below the control limit 0.2700; {meaning}."
    assert said[1] == "Drift since training: events <hour>: psi 0.5, at most 0.3 (usual)"
    assert [(row["observed"], row["bound"], row["word"]) for row in drift] == [(0.5, 0.3, "drift")]


def test_nothing_measured_says_nothing():
    assert charted([], [], PARAMS) == ([], [], [])


def test_the_page_loads_nothing_and_escapes_what_it_is_told():
    past = made(0.3, 0.3, 0.3, 0.1)
    page = monitor_page(told(*charted(past, past, PARAMS)), at=datetime(2026, 11, 5, tzinfo=UTC))
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert re.findall(r'(?:src|href|data)="(?!#)', page) == []
    assert "<hour>" not in page
    assert "Page made 2026-11-05 00:00 UTC." in page
    assert monitor_page(told([], [], []), at=datetime(2026, 11, 5, tzinfo=UTC)).count("<svg") == 0


def test_prometheus_reads_what_is_left_for_it(tmp_path):
    past = made(0.3, 0.3, 0.3, 0.1)
    leave_metrics(told(*charted(past, past, PARAMS)), tmp_path / "out.prom")
    families = text_string_to_metric_families((tmp_path / "out.prom").read_text())
    every = [sample for family in families for sample in family.samples]
    samples = {(of.name, *(of.labels[label] for label in sorted(of.labels))): of.value for of in every}
    assert samples["nightreel_window_viewers", "kuairand"] == 100
    assert samples["nightreel_control_chart", "kuairand", "below"] == 1
    assert samples["nightreel_control_chart", "kuairand", "in control"] == 0
    hour = ("events", "kuairand", "psi", "<hour>")
    assert samples["nightreel_drift", *hour] == 0.5
    assert samples["nightreel_drift_bound", *hour] == 0.3
    assert samples["nightreel_rollback_due", "kuairand"] == 0
    with pytest.raises(BadInput, match="cannot be used"):
        leave_metrics(told([], [], []), tmp_path / "nowhere" / "out.prom")
