"""A real Prefect server for all flow tests, and a project and a source for each."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.end_state import FinishedNight, assert_at_rest, home_of, state
from tests.flows.project import make_project, make_source, retrain
from tests.infra.servers import free_ports

START_SECONDS = 120


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server on loopback; its API's address, which children find in PREFECT_API_URL."""
    home = tmp_path_factory.mktemp("prefect")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    told = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "HOME": str(home)}
    env = os.environ | told | {"PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5"}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(server, f"{url}/health", log=home / "server.log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", url)
            yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # uvicorn is a child of the process started here
        server.wait()


def _await(server: "subprocess.Popen[bytes]", url: str, *, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"Prefect's server did not start:\n{log.read_text()[-4000:]}") from error
            time.sleep(0.3)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real source; treat it as read-only."""
    return make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout that each test's `project` is a copy of, so that all have the same commit."""
    return make_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(tmp_path: Path, template: Path) -> Path:
    """A fresh checkout of this project with small parameters."""
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, template: Path, source: Path, prefect_server: str
) -> FinishedNight:
    """One night that nobody disturbed, its data pushed to a folder. Tests may run nights there under another name."""
    folder = tmp_path_factory.mktemp("finished")
    project = Path(shutil.copytree(template, folder / "project"))
    outcome = retrain(project, source, env={"NIGHTREEL_REMOTE": str(folder / "remote")})
    assert outcome["status"] == "released"
    assert_at_rest(project)
    return FinishedNight(project, folder / "remote", outcome, state(project, outcome["run"]))


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory, template: Path, finished: FinishedNight) -> Path:
    """A checkout as `template`, whose nights find the work of the finished one: for tests of what comes after it."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("warm") / "project"))
    shutil.copytree(finished.home / "cache", home_of(project) / "cache")
    return project


@pytest.fixture(scope="session")
def two_releases(tmp_path_factory: pytest.TempPathFactory, warm: Path, source: Path) -> Path:
    """A project with two releases and one model version that the gate refused; work in a copy of it."""
    project = Path(shutil.copytree(warm, tmp_path_factory.mktemp("two-releases") / "project"))
    assert retrain(project, source)["seq"] == 1
    assert retrain(project, source, "--set", "train.itemknn.neighbours=60")["seq"] == 2
    refused = retrain(project, source, "--set", "train.itemknn.neighbours=50", "--set", "gate.max_megabytes=0.000001")
    assert (refused["status"], refused["model_version"], refused["seq"]) == ("refused", "3", None)
    return project
