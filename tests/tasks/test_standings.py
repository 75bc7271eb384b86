"""The candidates of a run side by side."""

import polars as pl
import pytest

from tasks import paths
from tasks.params import parse_params
from tasks.stage import write_json
from tasks.standings import standings

FIGURES = {
    "popularity": ([0.0, 0.2], {"seconds": 1.0, "peak_megabytes": 10.0, "cpu_seconds": 2.0}, 1.0),
    "ease": ([0.4, 0.6], {"seconds": 9.0, "peak_megabytes": 90.0, "cpu_seconds": 9.0}, 2.0),
    "itemknn": ([0.1, 0.3], {"seconds": 9.5, "peak_megabytes": 95.0, "cpu_seconds": 9.5}, 3.0),
}


@pytest.fixture
def run(tmp_path):
    for name, (figures, trained, milliseconds) in FIGURES.items():
        judged = {"metrics": {"ndcg@10": sum(figures) / 2}, "viewers": 2, "milliseconds": milliseconds}
        write_json(tmp_path / paths.EVALUATE_METRICS / f"{name}.json", judged | {"megabytes": 1.0, "split_digest": "d"})
        write_json(tmp_path / paths.TRAIN_METRICS / f"{name}.json", trained)
        (tmp_path / paths.EVALUATION / name).mkdir(parents=True)
        pl.DataFrame({"ndcg@10": figures}).write_parquet(tmp_path / paths.EVALUATION / name / "viewers.parquet")
    return tmp_path


def test_the_best_comes_first_and_who_is_beaten_in_everything_is_off_the_front(run):
    params = parse_params({"name": "x", "candidates": [*FIGURES, "sasrec"]}, where="here")
    rows = standings(run, params, failed={"sasrec": "out of memory"})
    assert [(row["candidate"], row.get("front"), row.get("challenger")) for row in rows] == [
        ("ease", True, True),
        ("itemknn", False, False),
        ("popularity", True, False),
        ("sasrec", None, None),
    ]
    best = rows[0]
    assert (best["ndcg@10"], best["joules"], best["viewers"]) == (0.5, 90.0, 2)
    assert 0.4 <= best["low"] <= 0.5 <= best["high"] <= 0.6


def test_nobody_measured_is_no_table(run):
    params = parse_params({"name": "x", "candidates": ["sasrec"]}, where="here")
    assert standings(run, params, failed={"sasrec": "NaN"}) == [{"candidate": "sasrec", "failed": "NaN"}]
