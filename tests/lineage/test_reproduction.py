"""A rebuild counts as the release only when it is bit-equal, or near it for a reason that is on record."""

import json
from typing import Any

import pytest

from lineage.differences import Difference, FileDifference
from lineage.reproduction import METRIC_TOLERANCE, Candidate, Metric, Reproduction, Side
from lineage.tensors import TensorDifference

ROUNDED = TensorDifference(tensor="w", how="3 of 4 values differ", largest=1e-7, relative=1e-7)
MOVED = TensorDifference(tensor="w", how="3 of 4 values differ", largest=0.5, relative=0.25)
PACKAGE = Difference(what="package.numpy", recorded="2.4.6", now="2.5.0")
ROW = FileDifference(file="data/accepted/events.parquet", how="differs: 1 row of 9 changed (rating)")
REWRITTEN = FileDifference(
    file="data/prepared/videos.parquet", how="differs: same rows, other bytes", same_content=True
)
EQUAL = Side(recorded=True, rebuilt=True, tensors=1)


def side(*differences: TensorDifference, **others: Any) -> Side:
    return Side(recorded=True, rebuilt=True, tensors=1, differences=differences, **others)


def candidate(model: Side = EQUAL, recorded: float | None = 0.25, rebuilt: float | None = 0.25) -> Candidate:
    return Candidate(name="ease", model=model, metric=Metric(name="ndcg@10", recorded=recorded, rebuilt=rebuilt))


def rebuilt(model: Side = EQUAL, **others: Any) -> Reproduction:
    nothing: dict[str, Any] = dict.fromkeys(("environment", "params", "code", "data", "prepared"), ())
    facts = {"release": "a" * 64, "name": "films", "run_commit": "b" * 40, "commit": "b" * 40, "requested": False}
    made = {"candidates": (candidate(model),), "challenger": None, "index": EQUAL}
    return Reproduction(**facts | nothing | made | others)


def test_bit_equal_counts_whatever_the_environment():
    for environment in ((), (PACKAGE,)):
        found = rebuilt(environment=environment)
        assert (found.verdict, found.unexplained, found.reproduced) == ("bit-equal", (), True)


def test_what_is_near_counts_only_with_a_reason_on_record():
    assert rebuilt(side(ROUNDED), environment=(PACKAGE,)).reproduced
    found = rebuilt(side(ROUNDED))
    assert (found.verdict, found.reproduced) == ("within tolerance", False)
    assert found.unexplained == (
        "Nothing recorded of environment, code and parameters differs, and yet numbers do. "
        "The kind of processor is not recorded.",
    )


def test_what_is_different_never_counts():
    assert not rebuilt(side(MOVED), environment=(PACKAGE,)).reproduced
    assert not rebuilt(index=side(MOVED)).reproduced
    assert not rebuilt(challenger=Difference(what="challenger", recorded="ease", now="itemknn")).reproduced


@pytest.mark.parametrize(
    ("recorded", "now", "verdict"),
    [
        (0.25, 0.25, "bit-equal"),
        (None, None, "bit-equal"),
        (0.25, 0.25 + METRIC_TOLERANCE / 2, "within tolerance"),
        (0.25, 0.25 - METRIC_TOLERANCE * 2, "different"),
        (0.25, None, "different"),
        (None, 0.25, "different"),
    ],
)
def test_a_metric_that_moves_is_no_equal_candidate(recorded, now, verdict):
    assert candidate(EQUAL, recorded, now).verdict == verdict


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        (Side(recorded=False, rebuilt=False, failed="out of memory"), "bit-equal"),  # fails as it failed
        (Side(recorded=True, rebuilt=False, failed="out of memory"), "different"),
        (Side(recorded=False, rebuilt=True), "different"),
        (side(files=(FileDifference(file="config.json", how="differs: l2: 2, recorded 1"),)), "different"),
        (side(ROUNDED, MOVED), "different"),
    ],
)
def test_a_model_is_judged_by_the_worst_of_it(model, verdict):
    assert model.verdict == verdict


def test_changed_data_is_never_a_reproduction_though_all_tensors_are_equal():
    found = rebuilt(data=(ROW,))
    assert (found.verdict, found.reproduced) == ("bit-equal", False)
    assert found.unexplained == (
        "data/accepted/events.parquet differs: 1 row of 9 changed (rating), although the release names its digest.",
    )


def test_data_prepared_otherwise_counts_by_its_rows():
    assert rebuilt(prepared=(REWRITTEN,), environment=(PACKAGE,)).reproduced
    assert rebuilt(prepared=(REWRITTEN,)).verdict == "within tolerance"
    assert rebuilt(prepared=(ROW,), environment=(PACKAGE,)).verdict == "different"


def test_other_code_or_parameters_are_a_reason_only_when_asked_for():
    changed = {"code": ("models/ease.py",), "params": (Difference(what="seed", recorded="1", now="2"),)}
    assert rebuilt(requested=True, **changed).reproduced
    found = rebuilt(**changed)
    assert not found.reproduced
    assert found.unexplained == (
        "The run's commit holds other code than the release records.",
        "The run's commit holds other parameters than the release records.",
    )


def test_the_row_says_all_of_it_in_json():
    row = json.loads(json.dumps(rebuilt(side(ROUNDED)).as_row()))
    assert row["tolerance"] == {"tensor": 1e-5, "metric": 1e-3}
    assert row["candidates"][0] == {
        "name": "ease",
        "model": {
            "recorded": True,
            "rebuilt": True,
            "failed": None,
            "tensors": 1,
            "differences": [ROUNDED.model_dump()],
            "files": [],
            "verdict": "within tolerance",
            "equal": False,
        },
        "metric": {"name": "ndcg@10", "recorded": 0.25, "rebuilt": 0.25, "difference": 0.0},
        "verdict": "within tolerance",
    }
    assert (row["verdict"], row["reproduced"]) == ("within tolerance", False)
