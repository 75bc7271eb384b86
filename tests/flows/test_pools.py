"""Steps that gain from a GPU run in the pool `gpu`, when it has a worker, and nothing is lost with that one."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.stack.service import asked
from tests.flows.end_state import entries, home_of, processes_in
from tests.flows.project import COMMAND, cli_environment, night_words, retrain, start_cli
from tests.flows.test_schedule import ask
from tests.flows.test_tune import SASREC
from tests.infra.servers import free_ports
from tests.infra.stacks import wait_until

pytestmark = pytest.mark.timeout(600)

CANDIDATES = ("--set", "candidates=[popularity,sasrec]", *SASREC)
LONG = ("--set", "train.sasrec.epochs=100000", "--set", "train.sasrec.patience=100000")
STEP_SECONDS = 120
TRAINS, STEP = "tasks.train sasrec", "prefect.engine"


@pytest.fixture(scope="module")
def trained(warm: Path, tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Iterator[Path]:
    """A project whose nights find a worker of the pool `gpu`."""
    project = Path(shutil.copytree(warm, tmp_path_factory.mktemp("pools") / "project"))
    (port,) = free_ports(1)
    env = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_WEBSERVER_PORT": str(port)}
    with (project.parent / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [*COMMAND, "worker", "--pool", "gpu", "--with-healthcheck"],
            cwd=project,
            env=cli_environment(project, env),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _pool(prefect_server) == "READY", seconds=STEP_SECONDS)
        wait_until(lambda: asked(f"http://127.0.0.1:{port}/health", None) is not None, seconds=STEP_SECONDS)
        yield project
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _pool(server: str) -> str | None:
    pools = {pool["name"]: pool["status"] for pool in ask(server, "work_pools/filter", {})}
    return pools.get("gpu")


def _steps(server: str, run: str) -> dict[str, str]:
    """State of the steps of a run that were sent to the pool, by name."""
    found = ask(server, "flow_runs/filter", {"flow_runs": {"name": {"like_": run}}})
    return {
        each["name"].removesuffix(f" of {run}"): each["state"]["type"]
        for each in found
        if each["work_pool_name"] == "gpu"
    }


def _log(project: Path) -> str:
    return (project.parent / f"{project.name}.log").read_text(encoding="utf-8")


def _at_work(project: Path) -> dict[int, str]:
    return {pid: line for pid, line in processes_in(project).items() if TRAINS in line}


def test_what_keras_trains_goes_to_the_pool(trained: Path, source: Path, prefect_server: str) -> None:
    night = retrain(trained, source, *CANDIDATES)
    assert (night["status"] in ("released", "refused"), night["failed_candidates"]) == (True, {})
    assert _steps(prefect_server, night["run"]) == {"train@sasrec": "COMPLETED", "encode": "COMPLETED"}
    assert _at_work(trained) == {}


@pytest.mark.slow
def test_what_a_step_says_when_it_fails_there_is_the_nights(trained: Path, source: Path, prefect_server: str) -> None:
    night = retrain(trained, source, *CANDIDATES, "--set", "train.sasrec.learning_rate=1.0e+38")
    (said,) = night["failed_candidates"].values()
    assert said.startswith("candidate sasrec failed: loss or weights are not finite"), said
    assert _steps(prefect_server, night["run"])["train@sasrec"] == "FAILED"


@pytest.mark.slow
def test_a_step_that_is_killed_there_runs_in_the_night(trained: Path, source: Path, prefect_server: str) -> None:
    night = start_cli(trained, *night_words(source, *CANDIDATES, "--set", "train.sasrec.dim=12"))
    wait_until(lambda: _at_work(trained), seconds=STEP_SECONDS)
    for process in _run_of(min(_at_work(trained))):
        process.kill()
    assert night.wait(timeout=300) in (0, 1), _log(trained)[-4000:]
    assert "lost in the pool gpu, so it runs here" in _log(trained)
    newest = max(home_of(trained).glob("runs/*/outcome.json"), key=lambda path: path.stat().st_mtime)
    assert '"failed_candidates": {}' in newest.read_text(encoding="utf-8")


def _run_of(pid: int) -> list[psutil.Process]:
    """The processes of the flow run that has started the process `pid`."""
    return [each for each in psutil.Process(pid).parents() if STEP in " ".join(each.cmdline())]


@pytest.mark.slow
def test_a_step_ends_with_the_night_that_asked_for_it(trained: Path, source: Path) -> None:
    before = entries(home_of(trained))
    night = start_cli(trained, *night_words(source, *CANDIDATES, *LONG))
    wait_until(lambda: _at_work(trained), seconds=STEP_SECONDS)
    night.kill()
    assert night.wait() == -signal.SIGKILL
    wait_until(lambda: not _at_work(trained), seconds=STEP_SECONDS)
    assert entries(home_of(trained)) == before
