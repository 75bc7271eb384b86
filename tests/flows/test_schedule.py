"""Nights by the clock: the deployment on a real Prefect server, and the worker that runs what is due."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flows.end_state import assert_at_rest, entries, home_of, processes_in
from tests.flows.project import COMMAND, cli_environment, last_json, run_cli, said

START_SECONDS = 150


@pytest.fixture(scope="module")
def scheduled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own, because a deployment names its checkout."""
    return Path(shutil.copytree(template, tmp_path_factory.mktemp("schedule") / "project"))


def ask(server: str, path: str, content: object = None) -> Any:
    """Prefect's answer: to a GET, or to a POST of `content`."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{server}/{path}", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def schedule(project: Path, source: Path, cron: str, *options: str) -> dict[str, Any]:
    """What `nightreel schedule` prints."""
    words = ("--source", "files", "--path", str(source), "--set", "validation.max_age_days=100000")
    done = run_cli(project, "schedule", "--cron", cron, *words, *options, "--json")
    assert done.returncode == 0, said(done)
    made = last_json(done.stdout)
    assert isinstance(made, dict)
    return made


def deployments(server: str) -> list[dict[str, Any]]:
    """Deployments of nights over files."""
    found = ask(server, "deployments/filter", {"deployments": {"name": {"any_": ["nightly-files"]}}})
    assert isinstance(found, list)
    return found


def test_the_deployment_is_made_once_and_follows_the_newest_words(
    prefect_server: str, scheduled: Path, source: Path
) -> None:
    made = schedule(scheduled, source, "0 2 * * *")
    assert (made["deployment"], made["cron"], made["work pool"]) == ("night/nightly-files", "0 2 * * *", "nightreel")
    (first,) = deployments(prefect_server)
    assert [each["schedule"]["cron"] for each in first["schedules"]] == ["0 2 * * *"]
    assert first["work_pool_name"] == "nightreel"
    assert ask(prefect_server, "work_pools/nightreel")["type"] == "process"
    request = first["parameters"]["request"]
    assert (request["root"], request["source"], request["path"]) == (str(scheduled), "files", str(source))
    assert request["as_of"] is None
    schedule(scheduled, source, "30 3 * * 1-5")
    (second,) = deployments(prefect_server)
    assert second["id"] == first["id"]
    assert [each["schedule"]["cron"] for each in second["schedules"]] == ["30 3 * * 1-5"]


def test_a_schedule_goes_to_the_pool_that_it_names(prefect_server: str, scheduled: Path, source: Path) -> None:
    made = schedule(scheduled, source, "0 2 * * *", "--pool", "cpu")
    assert (made["work pool"], made["next"]) == ("cpu", "have a worker poll cpu")
    (deployment,) = deployments(prefect_server)
    assert deployment["work_pool_name"] == "cpu"
    schedule(scheduled, source, "0 2 * * *")
    (deployment,) = deployments(prefect_server)
    assert deployment["work_pool_name"] == "nightreel"


def test_what_is_due_tomorrow_is_planned_in_utc(prefect_server: str, scheduled: Path, source: Path) -> None:
    schedule(scheduled, source, "0 2 * * *")
    (deployment,) = deployments(prefect_server)
    deadline = time.monotonic() + 60
    while not (planned := _runs(prefect_server, deployment["id"], "SCHEDULED")):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert {run["expected_start_time"][11:19] for run in planned} == {"02:00:00"}


@pytest.mark.parametrize("cron", ["at night", "0 2 * *", "61 2 * * *", ""])
def test_a_cron_that_is_none_is_refused(scheduled: Path, cron: str, prefect_server: str) -> None:
    done = run_cli(scheduled, "schedule", f"--cron={cron}")
    assert (done.returncode, done.stdout) == (2, ""), said(done)
    assert done.stderr == f"BadInput: --cron takes five fields, such as '0 2 * * *'. Received: {cron!r}\n", said(done)


def test_a_faulty_setting_is_refused_when_it_is_scheduled(scheduled: Path, prefect_server: str) -> None:
    done = run_cli(scheduled, "schedule", "--set", "gate.marginn=1")
    assert (done.returncode, done.stdout) == (2, ""), said(done)
    assert "unknown key gate.marginn" in done.stderr


def test_a_worker_runs_a_due_night_to_a_release(prefect_server: str, scheduled: Path, source: Path) -> None:
    schedule(scheduled, source, "0 2 * * *")
    (deployment,) = deployments(prefect_server)
    due = ask(prefect_server, f"deployments/{deployment['id']}/create_flow_run", {})
    with _worker(scheduled) as log:
        deadline = time.monotonic() + START_SECONDS
        while not (run := ask(prefect_server, f"flow_runs/{due['id']}"))["end_time"]:
            assert time.monotonic() < deadline, log.read_text()[-6000:]
            time.sleep(1)
    assert run["state"]["type"] == "COMPLETED", log.read_text()[-6000:]
    (entry,) = entries(home_of(scheduled))
    assert (entry.action, entry.by) == ("release", "tests")
    assert_at_rest(scheduled)


def _runs(server: str, deployment: str, state: str) -> list[dict[str, Any]]:
    chosen = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": [state]}}}}
    found = ask(server, "flow_runs/filter", chosen)
    assert isinstance(found, list)
    return found


@contextmanager
def _worker(project: Path) -> Iterator[Path]:
    """`nightreel worker` at work, then interrupted as by Ctrl-C; its log."""
    env = cli_environment(project, {"PREFECT_WORKER_QUERY_SECONDS": "1"})
    log, worker = _start(project, env)
    try:
        yield log
        worker.send_signal(signal.SIGINT)
        assert worker.wait(timeout=60) == 0, log.read_text()[-3000:]
        assert "Traceback" not in log.read_text()
    finally:
        _kill(worker)


def test_a_worker_that_is_stopped_takes_its_own_server_along(scheduled: Path) -> None:
    env = {name: value for name, value in cli_environment(scheduled).items() if name != "PREFECT_API_URL"}
    log, worker = _start(scheduled, env)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "started!" not in log.read_text():
            assert worker.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.3)
        assert len(processes_in(scheduled)) > 1
        worker.terminate()
        assert worker.wait(timeout=60) == 0, log.read_text()[-3000:]
        assert "Traceback" not in log.read_text()
        assert processes_in(scheduled) == {}
    finally:
        _kill(worker)


def _start(project: Path, env: dict[str, str]) -> "tuple[Path, subprocess.Popen[bytes]]":
    log = project.parent / "worker.log"
    with log.open("wb") as said_to:
        command = [*COMMAND, "worker"]
        return log, subprocess.Popen(
            command,
            cwd=project,
            env=env | {"PYTHONUNBUFFERED": "1"},
            stdout=said_to,
            stderr=said_to,
            start_new_session=True,
        )


def _kill(worker: "subprocess.Popen[bytes]") -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
