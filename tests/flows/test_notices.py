"""News for people, taken by a real HTTP server: of nights, and by Prefect itself of a flow run that was killed."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.automations import CRASHED, SILENT
from infra.notify import notify
from infra.settings import Settings
from tests.flows.project import last_json, night_words, retrain, run_cli, said
from tests.flows.test_schedule import _worker, ask, deployments, pause_polls
from tests.lineage.openlineage_server import Collector, collecting

pytestmark = pytest.mark.usefixtures("prefect_server")

TOKEN = "tell-nobody"
SCHEDULED = ("--source", "files", "--set", "validation.max_age_days=100000")


@pytest.fixture
def mailbox() -> Iterator[Collector]:
    with collecting(200) as collector:
        yield collector


@pytest.fixture(scope="module")
def told(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(warm, tmp_path_factory.mktemp("notices") / "project"))


def env(mailbox: Collector) -> dict[str, str]:
    return {"NIGHTREEL_NOTIFY_URL": f"{mailbox.url}/hook", "NIGHTREEL_NOTIFY_TOKEN": TOKEN}


def news(mailbox: Collector) -> list[dict[str, Any]]:
    assert all(path == "/hook" and head["Authorization"] == f"Bearer {TOKEN}" for path, head, _ in mailbox.posts)
    assert TOKEN not in json.dumps(mailbox.events)
    return mailbox.events


def test_a_verdict_an_approval_and_what_a_person_asked_for(told: Path, source: Path, mailbox: Collector) -> None:
    outcome = retrain(told, source, env=env(mailbox))
    (verdict,) = news(mailbox)
    assert (verdict["kind"], verdict["recommender"]) == ("verdict", "files")
    assert verdict["text"] == "files, night of 2016-10-16: released. itemknn, ndcg@10 0.09084"
    assert verdict["facts"]["release"] == outcome["release"]
    assert retrain(told, source, env=env(mailbox))["status"] == "unchanged"
    assert len(news(mailbox)) == 1
    words = ("--set", "gate.approval=required", "--set", "train.itemknn.neighbours=60")
    waiting = retrain(told, source, *words, env=env(mailbox))
    (_, approval) = news(mailbox)
    assert (approval["kind"], approval["facts"]["model_version"]) == ("approval", "2")
    assert approval["text"].endswith(f"Model version 2 waits for approval until {waiting['until']}")
    rejected = run_cli(told, "reject", "2", "--reason", "no")
    assert rejected.returncode == 0, said(rejected)


def test_data_that_strayed_blocks_the_night_and_says_how_far(told: Path, source: Path, mailbox: Collector) -> None:
    done = run_cli(told, *night_words(source, "--set", "validation.max_drift=0.0001"), env=env(mailbox))
    assert done.returncode == 1, said(done)
    drift, blocked = news(mailbox)
    assert (drift["kind"], blocked["kind"]) == ("drift", "blocked")
    assert set(drift["facts"]) >= {"drift_hour"}
    assert drift["facts"]["drift_hour"]["observed"] > 0.0001
    assert blocked["text"].startswith("files: Refused: The data is not fit to train on: drift_hour must be")


@pytest.mark.slow
def test_a_failure_is_told_and_a_night_does_not_depend_on_who_is_told(
    told: Path, source: Path, mailbox: Collector
) -> None:
    wrong = {"NIGHTREEL_MLFLOW_URI": "http://127.0.0.1:1"}
    done = run_cli(told, *night_words(source, "--set", "seed=7"), env=env(mailbox) | wrong)
    assert done.returncode == 2, said(done)
    (failure,) = news(mailbox)
    assert failure["kind"] == "failure"
    assert failure["text"].startswith("files: Unreachable: MLflow at http://127.0.0.1:1 did not carry out a request")
    gone = {"NIGHTREEL_NOTIFY_URL": "http://127.0.0.1:1/s3cr3t-path"}
    words = ("--set", "train.itemknn.neighbours=61")
    done = run_cli(told, *night_words(source, *words), "--json", env=gone)
    assert (done.returncode, last_json(done.stdout)["status"]) == (0, "released"), said(done)
    assert "s3cr3t" not in said(done)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "nonsense"])
def test_an_address_that_is_no_web_address_is_a_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(home=Path("/nowhere"), notify_url=url)
    assert not notify(settings, "verdict", "files", "released", {})
    assert "it must begin with http:// or https://" in caplog.text
    assert url not in caplog.text


def test_a_redirect_gets_no_token(mailbox: Collector) -> None:
    with collecting(302) as moved:
        assert not notify(Settings(home=Path("/nowhere"), notify_url=moved.url), "verdict", "files", "released", {})
    assert (len(moved.posts), mailbox.posts) == (1, [])


def test_prefect_tells_of_a_night_whose_process_was_killed(
    prefect_server: str, told: Path, source: Path, mailbox: Collector
) -> None:
    words = (*SCHEDULED, "--path", str(source), "--set", "train.itemknn.neighbours=70")
    for _ in range(2):  # a second one changes what is there
        made = run_cli(told, "schedule", *words, "--json", env=env(mailbox))
        assert made.returncode == 0, said(made)
    assert last_json(made.stdout)["automations"] == f"{CRASHED}, {SILENT}"
    found = ask(prefect_server, "automations/filter", {})
    assert sorted(each["name"] for each in found) == [SILENT, CRASHED]
    pause_polls(prefect_server)
    (deployment,) = deployments(prefect_server)
    due = ask(prefect_server, f"deployments/{deployment['id']}/create_flow_run", {})
    with _worker(told) as log:
        deadline = time.monotonic() + 120
        while not (pid := _night_below(os.getpid())):
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        while not mailbox.posts:
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.2)
    (crash,) = news(mailbox)
    assert (crash["kind"], crash["facts"]["flow"], crash["facts"]["id"]) == ("failure", "nightly", due["id"])
    assert crash["text"].endswith("ended without a word, or was killed")


def _night_below(parent: int) -> int | None:
    """The process of a flow run that a worker below `parent` has started."""
    for process in psutil.Process(parent).children(recursive=True):
        try:
            if any("prefect.engine" in word or "prefect.flow_engine" in word for word in process.cmdline()):
                return process.pid
        except psutil.Error:
            continue
    return None
