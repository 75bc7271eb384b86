"""Nights by the clock: the deployment on a real Prefect server, and the worker that runs what is due."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from lineage.runs import RunRecord
from tests.flows.end_state import assert_at_rest, entries, home_of, processes_in
from tests.flows.project import COMMAND, cli_environment, last_json, retrain, run_cli, said

START_SECONDS = 150
NIGHT_SECONDS = 450  # what a run that was lost has of its deployment's limit comes back after five minutes


@pytest.fixture(scope="module")
def scheduled(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own, because a deployment names its checkout."""
    return Path(shutil.copytree(warm, tmp_path_factory.mktemp("schedule") / "project"))


def ask(server: str, path: str, content: object = None) -> Any:
    """Prefect's answer: to a GET, or to a POST of `content`. While its SQLite is busy it is asked again."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{server}/{path}", data=body, headers={"Content-Type": "application/json"})
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.HTTPError, TimeoutError) as error:
            busy = body is None if isinstance(error, TimeoutError) else error.code == HTTPStatus.SERVICE_UNAVAILABLE
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(1)


def schedule(project: Path, source: Path, cron: str, *options: str) -> dict[str, Any]:
    """What `nightreel schedule` prints."""
    words = ("--source", "files", "--path", str(source), "--set", "validation.max_age_days=100000")
    done = run_cli(project, "schedule", "--cron", cron, *words, *options, "--json")
    assert done.returncode == 0, said(done)
    made = last_json(done.stdout)
    assert isinstance(made, dict)
    pause_polls(os.environ["PREFECT_API_URL"])
    return made


def pause_polls(server: str) -> None:
    """Have nothing come into the tests every few minutes."""
    for polls in ("arrivals-files", "hourly-files", "reconcile-files"):
        (deployment,) = deployments(server, polls)
        ask(server, f"deployments/{deployment['id']}/pause_deployment", {})


def deployments(server: str, name: str = "nightly-files") -> list[dict[str, Any]]:
    """The deployments called `name`, of which there is one."""
    found = ask(server, "deployments/filter", {"deployments": {"name": {"any_": [name]}}})
    assert isinstance(found, list)
    return found


def test_the_deployment_is_made_once_and_follows_the_newest_words(
    prefect_server: str, scheduled: Path, source: Path
) -> None:
    made = schedule(scheduled, source, "0 2 * * *")
    assert {name: cron for name, cron in made.items() if "/" in name} == {
        "nightly/nightly-files": "0 2 * * *",
        "refresh/hourly-files": "20 * * * *",
        "verify/daily-files": "0 12 * * *",
        "reproduce/weekly-files": "0 14 * * 0",
        "arrivals/arrivals-files": "*/5 * * * *",
        "watch-live/monitor-files": "0 10 * * *",
        "reconcile/reconcile-files": "*/5 * * * *",
    }
    assert made["work pool"] == "nightreel"
    (first,) = deployments(prefect_server)
    assert [each["schedule"]["cron"] for each in first["schedules"]] == ["0 2 * * *"]
    assert first["work_pool_name"] == "nightreel"
    assert ask(prefect_server, "work_pools/nightreel")["type"] == "process"
    request = first["parameters"]["request"]
    assert (request["root"], request["source"], request["path"]) == (str(scheduled), "files", str(source))
    assert (request["as_of"], request["scheduled"], request["missed"], request["limit_hours"]) == (
        None,
        True,
        "skip",
        None,
    )
    schedule(scheduled, source, "30 3 * * 1-5", "--missed", "catch-up", "--limit-hours", "2.5")
    (second,) = deployments(prefect_server)
    assert second["id"] == first["id"]
    assert [each["schedule"]["cron"] for each in second["schedules"]] == ["30 3 * * 1-5"]
    request = second["parameters"]["request"]
    assert (request["missed"], request["limit_hours"]) == ("catch-up", 2.5)
    (verify,) = deployments(prefect_server, "daily-files")
    assert verify["parameters"] == {"root": str(scheduled), "name": "files"}


def test_a_schedule_goes_to_the_pool_that_it_names(prefect_server: str, scheduled: Path, source: Path) -> None:
    made = schedule(scheduled, source, "0 2 * * *", "--pool", "cpu")
    assert (made["work pool"], made["next"]) == ("cpu", "run `nightreel worker --pool cpu`")
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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--limit-hours", "0"), "--limit-hours must be a number above 0. Received: 0.0"),
        (("--limit-hours", "nan"), "--limit-hours must be a number above 0. Received: nan"),
        (("--events", "events.jsonl"), "--events tells of a source that has a --path. Received: none"),
    ],
)
def test_faulty_options_are_refused(scheduled: Path, words: tuple[str, ...], sentence: str) -> None:
    done = run_cli(scheduled, "schedule", *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"BadInput: {sentence}\n"), said(done)


def test_a_worker_runs_what_is_due_to_a_release_once_and_proves_it(
    prefect_server: str, scheduled: Path, source: Path
) -> None:
    """Nights that piled up while there was no worker, then the day's proofs and a look for arrivals."""
    schedule(scheduled, source, "0 2 * * *")
    nights = [start(prefect_server, "nightly-files") for _ in range(3)]
    with _worker(scheduled) as log:
        assert [ended(prefect_server, run, log)["state"]["type"] for run in nights] == ["COMPLETED"] * 3
        states = [ask(prefect_server, f"flow_runs/{run}")["state"] for run in nights]
        assert sorted(state["name"] for state in states) == ["Completed", "Skipped", "Skipped"]
        (skipped, _) = [state["message"] for state in states if state["name"] == "Skipped"]
        assert re.fullmatch(r"a night that started at .{16} UTC, after this one was due, is done", skipped)
        others = [start(prefect_server, name) for name in ("daily-files", "hourly-files", "arrivals-files")]
        assert [ended(prefect_server, run, log)["state"]["type"] for run in others] == ["COMPLETED"] * 3
    assert len(_runs(prefect_server, deployments(prefect_server)[0]["id"], "COMPLETED")) == 3  # nothing has arrived
    (entry,) = entries(home_of(scheduled))
    assert (entry.action, entry.by) == ("release", "tests")
    assert entry.fence is not None
    assert_at_rest(scheduled)


def test_a_proof_that_fails_is_a_failed_run_that_says_what_does_not_hold(
    prefect_server: str, scheduled: Path, source: Path
) -> None:
    (entry,) = entries(home_of(scheduled))
    manifest = home_of(scheduled) / f"store/manifests/{entry.release}.json"
    whole = manifest.read_bytes()
    with _worker(scheduled, fails=True) as log:
        manifest.write_bytes(whole[:-2])
        run = ended(prefect_server, start(prefect_server, "daily-files"), log)
        manifest.write_bytes(whole)
    assert run["state"]["type"] == "FAILED"
    assert "things do not hold for files, first: " in run["state"]["message"]


@pytest.mark.slow
def test_a_night_that_overruns_is_stopped_and_the_next_one_goes_on(
    prefect_server: str, scheduled: Path, source: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(scheduled, tmp_path / "project", ignore=shutil.ignore_patterns(".nightreel")))
    schedule(project, source, "0 2 * * *", "--limit-hours", str(4 / 3600))
    with _worker(project, fails=True) as log:
        run = ended(prefect_server, start(prefect_server, "nightly-files"), log)
        assert processes_in(home_of(project) / "runs") == {}
    assert run["state"]["type"] == "FAILED"
    assert "The night ran for longer than its limit of 0.00111111 hours and was stopped." in run["state"]["message"]
    assert entries(home_of(project)) == []
    (lease,) = (home_of(project) / "store/leases/files").iterdir()
    assert not json.loads(lease.read_bytes())["held"]
    (run_folder,) = (home_of(project) / "runs").iterdir()
    began = date.fromisoformat(run_folder.name[:10])
    outcome = retrain(project, source, "--set", "validation.max_age_days=100000", as_of=began)
    assert (outcome["status"], outcome["run"]) == ("released", run_folder.name)


def test_a_partition_that_arrives_starts_one_night_however_often_it_is_looked_for(
    prefect_server: str, scheduled: Path, source: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(scheduled, tmp_path / "project", ignore=shutil.ignore_patterns(".nightreel")))
    schedule(project, source, "0 2 * * *")
    before = _nights_begun(prefect_server)
    with _worker(project) as log:
        looks = [start(prefect_server, "arrivals-files")]
        ended(prefect_server, looks[0], log)
        (night,) = _nights_begun(prefect_server) - before
        looks.append(start(prefect_server, "arrivals-files"))  # while it is at work
        ended(prefect_server, night, log)
        looks.append(start(prefect_server, "arrivals-files"))
        assert [ended(prefect_server, look, log)["state"]["type"] for look in looks] == ["COMPLETED"] * 3
    assert _nights_begun(prefect_server) - before == {night}
    (entry,) = entries(home_of(project))
    assert entry.action == "release"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missed", "nights"),
    [("catch-up", ["2016-10-14", "2016-10-15", "2016-10-16"]), ("skip", ["2016-10-14", "2016-10-16"])],
)
def test_missed_nights_are_caught_up_with_in_order_or_named_and_skipped(
    prefect_server: str, scheduled: Path, source: Path, tmp_path: Path, missed: str, nights: list[str]
) -> None:
    project = Path(shutil.copytree(scheduled, tmp_path / "project", ignore=shutil.ignore_patterns(".nightreel")))
    schedule(project, source, "0 2 * * *", "--missed", missed)
    with _worker(project) as log:
        for day in ("2016-10-14", "2016-10-16"):
            run = ended(prefect_server, start(prefect_server, "nightly-files", as_of=day), log)
            assert run["state"]["type"] == "COMPLETED", log.read_text()[-6000:]
        said = "skipped: the nights of 2016-10-15, which were missed" in log.read_text()
    assert said == (missed == "skip")
    records = map(RunRecord.model_validate_json, map(Path.read_bytes, home_of(project).glob("store/runs/files/*")))
    assert [record.as_of for record in sorted(records, key=lambda record: record.at)] == nights


def start(server: str, name: str, **asked: Any) -> str:
    """A run of a deployment that is due now, asked for something else than scheduled ones are; its id."""
    (deployment,) = deployments(server, name)
    known = deployment["parameters"]
    changed = {"parameters": known | {"request": known["request"] | asked}} if asked else {}
    due = {"state": {"type": "SCHEDULED"}} | changed
    return str(ask(server, f"deployments/{deployment['id']}/create_flow_run", due)["id"])


def ended(server: str, run: str, log: Path) -> dict[str, Any]:
    """The run once it has ended."""
    deadline = time.monotonic() + NIGHT_SECONDS
    while not (found := ask(server, f"flow_runs/{run}"))["end_time"]:
        assert time.monotonic() < deadline, log.read_text()[-6000:]
        time.sleep(1)
    assert isinstance(found, dict)
    return found


def _nights_begun(server: str) -> set[str]:
    """Runs of the nightly deployment that something else than its clock started."""
    (deployment,) = deployments(server)
    runs = _runs(server, deployment["id"], "SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED")
    return {run["id"] for run in runs if not run["auto_scheduled"]}


def _runs(server: str, deployment: str, *states: str) -> list[dict[str, Any]]:
    chosen = {"deployments": {"id": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": states}}}}
    found = ask(server, "flow_runs/filter", chosen)
    assert isinstance(found, list)
    return found


@contextmanager
def _worker(project: Path, *, fails: bool = False) -> Iterator[Path]:
    """`nightreel worker` at work, then interrupted as by Ctrl-C; its log, with traces only of flows that fail."""
    env = cli_environment(project, {"PREFECT_WORKER_QUERY_SECONDS": "1"})
    log, worker = _start(project, env)
    try:
        yield log
        worker.send_signal(signal.SIGINT)
        assert worker.wait(timeout=60) == 0, log.read_text()[-3000:]
        assert fails or "Traceback" not in log.read_text()
    finally:
        _kill(worker)


@pytest.mark.slow
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
