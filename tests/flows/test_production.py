"""The whole on real services: nights by the worker, an approval in MLflow, everything there after a restart, and a
night that goes on whichever service is killed under it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.registry import Registry
from infra.settings import Settings
from infra.stack import postgres, prefect_server, supervisor
from infra.stack.layout import Stack
from infra.stack.service import asked
from infra.stores import open_store
from lineage.ledger import Entry, Ledger
from tests.flows.end_state import home_of, processes_in
from tests.flows.project import SMALL, make_project, printed, run_cli, said
from tests.flows.test_replay import KUAIRAND
from tests.infra.stacks import end, pid_of, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not KUAIRAND.exists(), reason=f"the KuaiRand log is not at {KUAIRAND} (set NIGHTREEL_DATA)"),
]

NIGHT_SECONDS = 400
RECOMMENDER, RECONCILE = "kuairand", "reconcile/reconcile"


@dataclass(frozen=True)
class Site:
    """A checkout with schedules on a stack that is up."""

    project: Path
    stack: Stack

    @property
    def settings(self) -> Settings:
        """Which lead to the stack."""
        return Settings(home=home_of(self.project))

    def ledger(self, name: str = RECOMMENDER) -> list[Entry]:
        """All entries."""
        return list(Ledger(open_store("s3://nightreel/store", self.settings), name).entries())

    def ask(self, path: str, content: object = None) -> Any:
        """Prefect's answer to a GET, or to a POST of `content`; None when it does not answer."""
        told = asked(f"{prefect_server.api(self.stack)}/{path}", prefect_server.auth(self.stack), content)
        return None if told is None else json.loads(told)

    def start(self, deployment: str, **changed: Any) -> str:
        """A run of a deployment, now, its request changed; the run's id."""
        found = self.ask(f"deployments/name/{deployment}")
        parameters = found["parameters"]
        if changed:
            parameters |= {"request": parameters["request"] | changed}
        return str(self.ask(f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"])

    def ended(self, run: str) -> str:
        """Wait for a run's end; its state."""
        deadline = time.monotonic() + NIGHT_SECONDS
        while True:
            told = self.ask(f"flow_runs/{run}")
            if told and told["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return str(told["state"]["type"])
            assert time.monotonic() < deadline, told
            time.sleep(0.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack from nothing by `nightreel up`, with the schedules of KuaiRand, whose challengers wait for approval."""
    gate = SMALL["gate"] | {"approval": "required"}  # type: ignore[operator]
    project = make_project(tmp_path_factory.mktemp("production") / "project", gate=gate)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        printed(project, "up")
        stack = Stack.of(Settings(home=home_of(project)))
        try:
            words = ("--cron", "0 2 * * *", "--source", "kuairand", "--path", str(KUAIRAND))
            printed(project, "schedule", *words)
            site = Site(project, stack)
            for polls in ("arrivals/arrivals", "refresh/hourly", RECONCILE):  # which would come into the tests
                found = site.ask(f"deployments/name/{polls}-kuairand")
                site.ask(f"deployments/{found['id']}/pause_deployment", {})
            yield site
        finally:
            if process := supervisor.supervisor_of(stack):
                end(process)


def test_three_nights_an_approval_and_a_restart(site: Site) -> None:
    registry, nights = Registry(site.settings, RECOMMENDER), []
    for day in ("2022-04-08", "2022-04-09", "2022-04-10"):
        nights.append(site.start("nightly/nightly-kuairand", as_of=day))
        assert site.ended(nights[-1]) == "COMPLETED"
        waiting = registry.alias("challenger")
        if waiting:
            registry.tag_version(waiting, {"nightreel.approval": "approved: it may go live"})
            # MLflow's hint may have started the reconciler already: then this run is one too many
            assert site.ended(site.start(f"{RECONCILE}-kuairand")) in ("COMPLETED", "CANCELLED")
            wait_until(lambda expected=waiting: registry.alias("champion") == expected, seconds=NIGHT_SECONDS)  # type: ignore[misc]
    entries = site.ledger()
    assert entries
    assert {entry.action for entry in entries} == {"release"}
    assert registry.alias("champion") == entries[-1].model_version
    before = state(site, registry)
    assert printed(site.project, "down")["stack"] == "down"
    assert processes_in(site.project) == {}
    printed(site.project, "up")
    assert state(site, registry) == before
    assert {site.ask(f"flow_runs/{night}")["state"]["type"] for night in nights} == {"COMPLETED"}
    home = home_of(site.project)
    assert not [name for name in ("store", "mlflow.db", "mlartifacts") if (home / name).exists()]


def state(site: Site, registry: Registry) -> dict[str, Any]:
    """What is live, what MLflow and the ledger have of it, what Prefect has planned, and what a viewer is shown."""
    status = printed(site.project, "status")
    viewer = printed(site.project, "recommend", "--user", "1")
    deployments = site.ask("deployments/filter", {})
    tables = postgres.run(site.stack, "SELECT datname FROM pg_database ORDER BY datname")
    return {
        "live": {key: status[key] for key in ("live release", "entry", "model version", "run", "signature")},
        "entries": [entry.model_dump() for entry in site.ledger()],
        "versions": registry.versions(),
        "deployments": sorted(each["name"] for each in deployments),
        "databases": tables,
        "viewer": viewer,
    }


@pytest.mark.parametrize("service", ["postgres", "seaweedfs", "mlflow", "prefect", "worker"])
def test_a_night_whose_service_is_killed_ends_right_or_says_why_and_goes_on(site: Site, service: str) -> None:
    name, before = f"killed-{service}", logs_of_validation(site)
    asked_for = {"as_of": "2022-04-08", "overrides": [f"name={name}", "gate.approval=none"]}
    night = site.start("nightly/nightly-kuairand", **asked_for)
    wait_until(lambda: logs_of_validation(site) - before, seconds=NIGHT_SECONDS)
    killed = pid_of(site.stack, service)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    told = site.ended(night)
    said_of_it = site.ask(f"flow_runs/{night}")["state"]["message"]
    assert told == "COMPLETED" or "Unreachable" in said_of_it or (told, service) == ("CRASHED", "worker"), said_of_it
    assert site.ended(site.start("nightly/nightly-kuairand", **asked_for)) == "COMPLETED"
    (entry,) = site.ledger(name)
    assert Registry(site.settings, name).alias("champion") == entry.model_version
    assert pid_of(site.stack, service) not in (None, killed)
    verified = run_cli(site.project, "audit", "verify", "--name", name)
    assert verified.returncode == 0, said(verified)


def logs_of_validation(site: Site) -> set[Path]:
    """Of the runs that have validated."""
    logs = home_of(site.project).glob("runs/*/log/validate.jsonl")
    return {log for log in logs if '"validate: done in' in log.read_text(encoding="utf-8")}
