"""Two Prefect workers on two machines take the same night: one publishes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.settings import Settings
from infra.stack.layout import Stack
from infra.stores import open_store
from lineage.lease import Leases
from lineage.ledger import Ledger
from tests.flows.end_state import home_of, processes_in
from tests.flows.on_stack import on_stack
from tests.flows.project import LAST_DAY, printed, run_cli, said
from tests.flows.test_up import services_of
from tests.infra.stacks import ask_prefect, wait_until
from tests.lineage.test_keys import private_pem
from tests.lineage.test_signing import SIGNER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LEASE_SECONDS, NIGHT_SECONDS = 5, 300
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
LATER = {"NIGHTREEL_LEASE_SECONDS": str(LEASE_SECONDS), "PREFECT_WORKER_QUERY_SECONDS": "1"}


@pytest.fixture
def machines(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Stack, tuple[Path, Path]]]:
    """A checkout, its stack, and the homes of two machines with a worker each in the same work pool."""
    (tmp_path / "key.pem").write_text(private_pem(SIGNER.key))
    shared = LATER | {"NIGHTREEL_SIGNING_KEY": str(tmp_path / "key.pem"), "NIGHTREEL_ACTOR": "tests"}
    for name, value in shared.items():
        monkeypatch.setenv(name, value)
    with on_stack(template, tmp_path) as (project, stack):
        second = services_of(project) | shared | {"NIGHTREEL_HOME": str(tmp_path / "second")}
        printed(project, "up", "--external", env=second)
        try:
            yield project, stack, (home_of(project), tmp_path / "second")
        finally:
            done = run_cli(project, "down", env=second)
            assert done.returncode == 0, said(done)


def test_of_two_workers_at_the_same_night_one_publishes(
    machines: tuple[Path, Stack, tuple[Path, Path]], source: Path
) -> None:
    project, stack, homes = machines
    words = ("--source", "files", "--path", str(source), "--set", "validation.max_age_days=100000")
    printed(project, "schedule", "--cron", "0 2 * * *", *words)
    deployment = _unlimited(stack)
    store = open_store("s3://nightreel/store", Settings(home=homes[0]))
    first = _start(stack, deployment)
    wait_until(lambda: any(store.keys("manifests/")), seconds=NIGHT_SECONDS)  # judged and published, not yet live
    (there,) = (home for home in homes if processes_in(home / "runs"))
    frozen = _machine(there)
    for process in frozen:
        process.suspend()
    try:
        time.sleep(LEASE_SECONDS + 1)  # before that, the second one says that the night is at work, and is skipped
        second = _start(stack, deployment)
        state = _ended(stack, second)
        assert state["name"] == "Completed", state
        (entry,) = Ledger(store, "files").entries()
    finally:
        for process in reversed(frozen):
            process.resume()
    state = _ended(stack, first)
    assert (state["type"], "LostLease" in state["message"]) == ("FAILED", True), state
    assert [each.release for each in Ledger(store, "files").entries()] == [entry.release]
    assert entry.fence == Leases(store, "files").newest().token
    (other,) = set(homes) - {there}
    assert [path.name for path in (other / "runs").iterdir()] == [entry.run]


def _machine(home: Path) -> list[psutil.Process]:
    """The worker of the machine at `home`, first, and all that it has started."""
    night = psutil.Process(next(iter(processes_in(home / "runs"))))
    worker = next(each for each in night.parents() if each.cmdline()[-2:] == ["--pool", "nightreel"])
    return [worker, *worker.children(recursive=True)]


def _unlimited(stack: Stack) -> str:
    """A deployment of the night that has no clock, and of which Prefect lets two runs be at work; its id."""
    night = ask_prefect(stack, "deployments/name/nightly/nightly-files")
    parts = ("flow_id", "entrypoint", "path", "pull_steps", "work_pool_name")
    request = night["parameters"]["request"] | {"as_of": str(LAST_DAY)}
    made = {name: night[name] for name in parts} | {"name": "twice", "parameters": {"request": request}}
    for each in ask_prefect(stack, "deployments/filter", {}):  # nothing else is to come into the test
        ask_prefect(stack, f"deployments/{each['id']}/pause_deployment")
    return str(ask_prefect(stack, "deployments/", made)["id"])


def _start(stack: Stack, deployment: str) -> str:
    return str(ask_prefect(stack, f"deployments/{deployment}/create_flow_run", {})["id"])


def _ended(stack: Stack, run: str) -> dict[str, Any]:
    """The state in which a run ends."""

    def state() -> dict[str, Any]:
        found = ask_prefect(stack, f"flow_runs/{run}")["state"]
        assert isinstance(found, dict)
        return found

    wait_until(lambda: state()["type"] in ENDED, seconds=NIGHT_SECONDS)
    return state()
