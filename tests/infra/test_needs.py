"""What a step needs, and machines that have less."""

from pathlib import Path

import psutil
import pytest

from infra import needs
from infra.errors import BadInput
from infra.needs import Needs
from tests.flows.project import ROOT

PIPELINE = """
stages:
  ingest: {cmd: "true"}
  train:
    matrix: {candidate: [ease]}
    meta: {needs: {pool: gpu, memory_gb: 2}}
    cmd: "true"
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A `dvc.yaml`."""
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path / "dvc.yaml"


@pytest.mark.parametrize(("stage", "expected"), [("ingest", Needs()), ("train@ease", Needs(pool="gpu", memory_gb=2))])
def test_needs_are_declared_where_the_step_is(pipeline: Path, stage: str, expected: Needs) -> None:
    assert Needs.of(stage, pipeline) == expected


def test_what_keras_trains_gains_from_a_gpu() -> None:
    steps = ("ingest", "prepare", "encode", "learn@clips", "train@sasrec", "train-ranker@multitask", "evaluate@sasrec")
    assert [Needs.of(step, ROOT / "dvc.yaml").pool for step in steps] == ["cpu", "cpu", *["gpu"] * 4, "cpu"]


def test_a_machine_with_too_little_memory_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(needs, "CONTROL_GROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("1500000000\n", encoding="ascii")
    Needs(memory_gb=1.5).require_memory("train@sasrec")
    expected = "Step train@sasrec needs 2 GB of memory, as its needs in dvc.yaml say. This machine has 1.5 GB."
    with pytest.raises(BadInput) as raised:
        Needs(memory_gb=2).require_memory("train@sasrec")
    assert str(raised.value) == expected


@pytest.mark.parametrize("said", ["max\n", None])
def test_without_a_limit_it_is_all_of_the_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str | None
) -> None:
    if said:
        (tmp_path / "memory.max").write_text(said, encoding="ascii")
    monkeypatch.setattr(needs, "CONTROL_GROUP", tmp_path / "memory.max")
    assert needs.memory_gb() == psutil.virtual_memory().total / 1e9
