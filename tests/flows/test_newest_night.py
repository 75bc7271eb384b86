"""Which night's data is used again: the newest of the recommender whose data was prepared by the same parameters."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.newest_night import newest_night
from infra.settings import Settings
from tasks import paths
from tasks.params import parse_params
from tasks.stage import write_json


def params(**sections: Any) -> Any:
    return parse_params({"name": "films", "seed": 1} | sections, where="here")


@pytest.fixture
def found(tmp_path: Path) -> Any:
    def find(*, encoded: bool = False, **sections: Any) -> str | None:
        night = newest_night(Settings(home=tmp_path), params(**sections), encoded=encoded)
        return night and night.parent.name

    return find


def leave_night(
    home: Path, run: str, day: str, *, name: str = "films", stages: tuple[str, ...] = ("prepare",), **sections: Any
) -> Path:
    """What a night leaves that is looked at, made a second after the one before."""
    checkout = home / "runs" / run / "checkout"
    write_json(checkout / paths.LANDED, {"name": name, "as_of": day})
    write_json(checkout / paths.PREPARED / "prepared.json", {})
    write_json(checkout / paths.PREPARE_METRICS, {})
    at = len(list((home / "runs").iterdir()))
    os.utime(checkout / paths.PREPARE_METRICS, (at, at))
    (checkout / "params.yaml").write_text(yaml.safe_dump(params(**sections).model_dump(mode="json")))
    (checkout / "dvc.lock").write_text(yaml.safe_dump({"stages": {stage: {} for stage in stages}}))
    return checkout


def test_the_newest_day_then_the_newest_run(tmp_path: Path, found: Any) -> None:
    assert found() is None
    leave_night(tmp_path, "a", "2026-11-02")
    leave_night(tmp_path, "b", "2026-11-02", gate={"margin": 0.1})
    leave_night(tmp_path, "c", "2026-11-01")
    assert found(train={"ease": {"l2": 5.0}}) == "b"


def test_others_data_and_unfinished_data_are_left_alone(tmp_path: Path, found: Any) -> None:
    leave_night(tmp_path, "a", "2026-11-01")
    leave_night(tmp_path, "b", "2026-11-02", name="music")
    leave_night(tmp_path, "c", "2026-11-03", prepare={"split": "random"})
    leave_night(tmp_path, "d", "2026-11-04", seed=2)
    leave_night(tmp_path, "e", "2026-11-05", stages=("ingest",))
    (leave_night(tmp_path, "f", "2026-11-06") / "params.yaml").write_text("of: another version\n")
    (leave_night(tmp_path, "g", "2026-11-07") / paths.PREPARED / "prepared.json").unlink()
    (leave_night(tmp_path, "h", "2026-11-08") / "dvc.lock").unlink()
    assert found() == "a"


def test_who_reads_content_needs_it_encoded_alike(tmp_path: Path, found: Any) -> None:
    content = {"content_candidates": ["content"]}
    leave_night(tmp_path, "a", "2026-11-01", stages=("prepare", "encode"), **content)
    leave_night(tmp_path, "b", "2026-11-02", **content)
    leave_night(tmp_path, "c", "2026-11-03", stages=("prepare", "encode"))
    other = {"encode": {"text": {"model": "e5"}}}
    leave_night(tmp_path, "d", "2026-11-04", stages=("prepare", "encode"), **content, **other)
    assert found(encoded=True, **content) == "a"
    assert found(**content) == "d"
