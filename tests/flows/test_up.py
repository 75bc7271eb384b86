"""`nightreel up`, a night on the services that it started, and `nightreel down`."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.settings import Settings
from infra.stack import supervisor
from infra.stack.layout import Stack, made_in
from infra.stores import open_store
from lineage.lease import Leases
from lineage.ledger import Ledger
from tests.flows.end_state import git, home_of, processes_in
from tests.flows.project import last_json, night_words, printed, retrain, run_cli, said, start_cli
from tests.infra.stacks import end, wait_until
from tests.lineage.test_keys import private_pem
from tests.lineage.test_signing import SIGNER

PLAIN = ("mlflow_tracking_", "prefect_")  # variables of MLflow's and Prefect's own
NAMES = ["postgres", "seaweedfs", "mlflow", "prefect", "hints", "worker"]


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout whose children know no other Prefect server; what it starts ends with the module."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("up") / "project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        try:
            yield project
        finally:
            stack = made_in(Settings(home=home_of(project)))
            if stack and (process := supervisor.supervisor_of(stack)):
                end(process)


@pytest.fixture(scope="module")
def up(project: Path) -> dict[str, Any]:
    """What `nightreel up` printed in a project that had no stack."""
    return printed(project, "up")


def stack_of(project: Path) -> Stack:
    """The project's stack."""
    return Stack.of(Settings(home=home_of(project)))


def test_there_is_nothing_to_stop_before(project: Path) -> None:
    done = run_cli(project, "down")
    assert (done.returncode, done.stdout) == (2, ""), said(done)
    assert done.stderr == "BadInput: There is no stack here: `nightreel up` makes one.\n"


def test_up_says_what_runs_and_a_second_one_finds_it(project: Path, up: dict[str, Any]) -> None:
    assert [(each["service"], each["state"]) for each in up["services"]] == [(name, "ready") for name in NAMES]
    assert up["seconds"] < 60
    again = printed(project, "up")
    assert again["services"] == up["services"]
    running = supervisor.supervisor_of(stack_of(project))
    assert running is not None
    assert again["found"] == f"running already, supervisor process {running.pid}"


def test_status_says_what_runs_although_nothing_is_live(project: Path, up: dict[str, Any]) -> None:
    told = printed(project, "status")
    assert told["services"] == up["services"]
    assert told["live"].startswith("Nothing is live in s3://nightreel/store")


def test_external_services_are_not_mixed_with_own_ones(project: Path, up: dict[str, Any]) -> None:
    done = run_cli(project, "up", "--external")
    assert (done.returncode, done.stdout) == (2, ""), said(done)
    assert "Run `nightreel down` first." in done.stderr


def services_of(project: Path) -> dict[str, str]:
    """The stack's services as variables of the environment, for a machine that did not start them."""
    own = json.loads((home_of(project) / "stack/addresses.json").read_text(encoding="utf-8"))
    named = {name: value for name, value in own.items() if name != "external"}
    return {f"{'' if name.startswith(PLAIN) else 'NIGHTREEL_'}{name.upper()}": value for name, value in named.items()}


@pytest.mark.slow
def test_of_two_machines_at_the_same_night_one_publishes(
    project: Path, up: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    """Two processes that share S3, PostgreSQL, MLflow and Prefect, but no folder; one is stopped past its lease."""
    (tmp_path / "key.pem").write_text(private_pem(SIGNER.key))
    shared = services_of(project) | {"NIGHTREEL_SIGNING_KEY": str(tmp_path / "key.pem"), "NIGHTREEL_LEASE_SECONDS": "5"}
    first, second = (shared | {"NIGHTREEL_HOME": str(tmp_path / name)} for name in ("first", "second"))
    store = open_store("s3://nightreel/store", Settings(home=home_of(project)))
    stopped = start_cli(project, *night_words(source, "--set", "name=twice"), env=first)
    while not any(store.keys("manifests/")):  # judged and published, not yet live
        assert stopped.poll() is None
    stopped.send_signal(signal.SIGSTOP)
    winner = retrain(project, source, "--set", "name=twice", env=second)
    assert (winner["status"], winner["seq"]) == ("released", 1)
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(timeout=300) == 1
    log = (project.parent / "project.log").read_text(encoding="utf-8")
    assert "LostLease: This run may not change what is live of twice any more" in log
    (entry,) = Ledger(store, "twice").entries()
    assert (entry.release, entry.seq, entry.fence) == (winner["release"], 1, Leases(store, "twice").newest().token)


def test_services_that_exist_get_a_worker_of_their_own(project: Path, up: dict[str, Any], tmp_path: Path) -> None:
    own = json.loads((home_of(project) / "stack/addresses.json").read_text(encoding="utf-8"))
    named = {name: value for name, value in own.items() if name != "external"}
    env = services_of(project)
    there = {"NIGHTREEL_HOME": str(tmp_path)}
    (worker,) = printed(project, "up", "--external", env=env | there)["services"]
    assert (worker["service"], worker["state"]) == ("worker", "ready")
    kept = json.loads((tmp_path / "stack/addresses.json").read_text(encoding="utf-8"))
    assert kept == named | {"external": True}
    assert printed(project, "down", env=there)["stack"] == "down"
    wrong = run_cli(project, "up", "--external", env=env | there | {"PREFECT_API_AUTH_STRING": "nightreel:wrong"})
    assert wrong.returncode == 2
    assert wrong.stderr.rstrip().endswith("/api did not answer, or refused PREFECT_API_AUTH_STRING."), said(wrong)


@pytest.mark.slow
def test_nights_keep_their_state_in_the_stack_alone(project: Path, up: dict[str, Any], source: Path) -> None:
    night = retrain(project, source)
    assert (night["status"], night["seq"], night["model_version"]) == ("released", 1, "1")
    assert retrain(project, source)["status"] == "unchanged"
    home = home_of(project)
    assert not [name for name in ("store", "mlflow.db", "mlartifacts") if (home / name).exists()]
    settings = Settings(home=home)
    entries = list(Ledger(open_store("s3://nightreel/store", settings), "files").entries())
    assert [entry.release for entry in entries] == [night["release"]]
    assert any(key.startswith("files/md5/") for key in open_store("s3://nightreel/dvc", settings).keys(""))
    assert any(key.endswith("MLmodel") for key in open_store("s3://nightreel/mlflow", settings).keys(""))
    assert printed(project, "status")["model version"] == "1"
    _assert_no_secret_left(project, night["run"])


def _assert_no_secret_left(project: Path, run: str) -> None:
    """None of the stack's secrets is in the run's commit, its logs or MLflow's parameters."""
    home = home_of(project)
    secrets = json.loads((home / "stack/stack.json").read_text(encoding="utf-8"))["credentials"].values()
    commit = git(project, "grep", "-aIhe", "", f"refs/nightreel/runs/{run}")
    logs = [path.read_text(encoding="utf-8", errors="replace") for path in home.glob("**/log/*") if path.is_file()]
    assert not [secret for secret in secrets for text in (commit, *logs) if secret in text]


def test_down_stops_all_and_commands_say_how_to_go_on(project: Path, up: dict[str, Any]) -> None:
    assert printed(project, "down")["stack"] == "down"
    assert processes_in(project) == {}
    done = run_cli(project, "releases")
    assert done.returncode == 2, said(done)
    assert done.stderr.rstrip().endswith("The stack is down: run `nightreel up`.")
    assert printed(project, "down")["stack"] == "was down"
    down = run_cli(project, "status", "--json")
    assert down.returncode == 2, said(down)
    assert {each["state"] for each in last_json(down.stdout)["services"]} == {"down"}


def test_external_names_what_is_missing(project: Path, tmp_path: Path) -> None:
    env = {"NIGHTREEL_HOME": str(tmp_path), "NIGHTREEL_STORE": str(tmp_path / "store")}
    done = run_cli(project, "up", "--external", env=env)
    assert done.returncode == 2
    assert done.stderr.endswith("Missing: NIGHTREEL_MLFLOW_URI, PREFECT_API_URL\n"), said(done)


@pytest.mark.slow
def test_in_the_foreground_an_interrupt_stops_all(project: Path, up: dict[str, Any]) -> None:
    started = start_cli(project, "up", "--foreground")
    log = project.parent / "project.log"
    wait_until(lambda: "Ctrl-C stops all of it." in log.read_text(encoding="utf-8"))
    family = psutil.Process(started.pid).children(recursive=True)
    for process in (started.pid, *(each.pid for each in family if "supervisor.supervisord" in each.cmdline())):
        os.kill(process, signal.SIGINT)  # as a terminal sends it to both
    assert started.wait(timeout=90) == 0, log.read_text(encoding="utf-8")[-3000:]
    assert [each for each in family if each.is_running()] == []
