"""A person moves `champion` in MLflow, and the ledger follows: webhook, hint, Prefect's worker, the reconciler."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.registry import REFUSED, Registry
from infra.settings import Settings
from infra.stack import hints, mlflow_server, supervisor
from infra.stack.credentials import USER
from infra.stack.layout import Stack, made_in
from infra.stack.service import asked
from infra.stores import open_store
from lineage.ledger import Entry, Ledger
from tests.flows.end_state import home_of
from tests.flows.project import retrain, run_cli, said
from tests.infra.stacks import ask_prefect, end, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(template: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout whose stack is up, with two versions that passed, the second one live, and a deployed reconciler."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("hint") / "project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        try:
            done = run_cli(project, "up", env={"PREFECT_WORKER_QUERY_SECONDS": "1"})
            assert done.returncode == 0, said(done)
            for seq, neighbours in ((1, 100), (2, 60)):
                assert retrain(project, source, "--set", f"train.itemknn.neighbours={neighbours}")["seq"] == seq
            _deploy(project)
            yield project
        finally:
            stack = made_in(Settings(home=home_of(project)))
            if stack and (process := supervisor.supervisor_of(stack)):
                end(process)


@pytest.fixture(scope="module")
def registry(project: Path) -> Registry:
    """The recommender in the stack's MLflow."""
    return Registry(Settings(home=home_of(project)), "files")


def _deploy(project: Path) -> None:
    """The deployment that the reconciler is polled by, without its clock: only hints start it here."""
    flow = ask_prefect(_stack(project), "flows/", {"name": hints.FLOW})["id"]
    wanted = {
        "name": "by-hint",
        "flow_id": flow,
        "work_pool_name": "nightreel",
        "entrypoint": "flows/reconcile.py:reconcile",
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(project)}}],
        "parameters": {"root": str(project)},
    }
    ask_prefect(_stack(project), "deployments/", wanted)


def _stack(project: Path) -> Stack:
    return Stack.of(Settings(home=home_of(project)))


def _in_mlflow(project: Path, path: str, content: object) -> None:
    """What MLflow's pages send when a person clicks."""
    stack = _stack(project)
    url = f"{stack.url(mlflow_server.NAME)}/api/2.0/mlflow/{path}"
    assert asked(url, f"{USER}:{stack.credentials.mlflow}", content) is not None


def _entries(project: Path) -> list[Entry]:
    settings = Settings(home=home_of(project))
    return list(Ledger(open_store(settings.store_url, settings), "files").entries())


def test_moving_the_alias_in_mlflow_makes_a_version_live(project: Path) -> None:
    _in_mlflow(project, "registered-models/alias", {"name": "files", "alias": "champion", "version": "1"})
    wait_until(lambda: len(_entries(project)) == 3)
    entry = _entries(project)[-1]
    assert (entry.action, entry.model_version, entry.by) == ("promote", "1", "someone in MLflow")


def test_a_tag_that_approves_what_the_store_does_not_know_is_answered(project: Path, registry: Registry) -> None:
    run = registry.run("by hand", title="by hand", tags={})
    strange = registry.create_version("by hand", source=f"runs:/{run}/m", run=run, tags={})
    tag = {"name": "files", "version": strange, "key": "nightreel.approval", "value": "approved: trust me"}
    _in_mlflow(project, "model-versions/set-tag", tag)
    wait_until(lambda: REFUSED in registry.tags_of(strange))
    assert registry.tags_of(strange)["nightreel.approval"] == "refused"
    assert len(_entries(project)) == 3


def test_what_was_deleted_is_restored_by_hand_through_the_server(project: Path, registry: Registry) -> None:
    stack = _stack(project)
    with registry._asked() as client:
        client.delete_model_version("files", "1")
    done = run_cli(project, "reconcile", "--json")
    assert done.returncode == 0, said(done)
    assert [each["what"] for each in json.loads(done.stdout)] == ["restored"]
    shown = registry.shown()
    assert shown.aliases["champion"] == shown.standing_for("1") != "1"
    files = registry.model_files(shown.aliases["champion"])
    assert files is not None
    assert "MLmodel" in files
    assert stack.credentials.mlflow not in done.stdout + done.stderr
