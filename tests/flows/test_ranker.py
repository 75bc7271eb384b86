"""A night whose challenger ranks what retrievers of its own propose, by feedback and all that is known."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.flows.end_state import home_of
from tests.flows.project import last_json, retrain, run_cli, said

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(900)]

RANKER = (
    "--set", "candidates=[popularity]", "--set", "rankers=[multitask]", "--set", "encode.text=null",
    "--set", "train.multitask.each=60",
)  # fmt: skip


@pytest.mark.slow
def test_a_ranker_goes_live_answers_and_is_rebuilt_bit_for_bit(project: Path, source: Path) -> None:
    outcome = retrain(project, source, *RANKER)
    assert (outcome["status"], outcome["challenger"]) == ("released", "multitask")
    checkout = home_of(project) / "runs" / outcome["run"] / "checkout"
    trained = json.loads((checkout / "metrics/train/multitask.json").read_text())
    assert list(trained["tasks"]) == ["positive", "rating"]  # MovieLens tells ratings and no more
    viewer = str(pl.read_parquet(checkout / "data/prepared/viewers.parquet").item(0, "user_id"))
    answered = run_cli(project, "recommend", "--user", viewer, "--name", "files", "--explain", "--json")
    assert answered.returncode == 0, said(answered)
    videos = last_json(answered.stdout)["videos"]
    assert len(videos) == 10
    assert any(video["because"] for video in videos)
    rebuilt = run_cli(project, "audit", "reproduce", outcome["release"], "--name", "files", "--json")
    assert rebuilt.returncode == 0, said(rebuilt)
