"""What is done after a service has lost its data: docs/operate.md, "After losing a service"."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.registry import Registry
from infra.settings import Settings
from infra.stack.layout import Stack
from infra.stores import open_store
from lineage.ledger import Ledger
from tests.flows.end_state import home_of
from tests.flows.on_stack import on_stack
from tests.flows.project import printed, retrain, run_cli, said
from tests.infra.stacks import bring_up, take_down

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def released(
    template: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Stack, dict[str, Any]]]:
    """A project with one night's release on a stack that is up; the night's outcome."""
    with on_stack(template, tmp_path_factory.mktemp("lost")) as (project, stack):
        yield project, stack, retrain(project, source)


def test_without_postgres_the_live_model_is_registered_anew(
    released: tuple[Path, Stack, dict[str, Any]], source: Path
) -> None:
    project, stack, night = released
    viewer = printed(project, "recommend", "--user", "1")
    take_down(stack)
    shutil.rmtree(stack.data("postgres"))
    bring_up(stack)
    printed(project, "reconcile")
    registry = Registry(Settings(home=home_of(project)), "files")
    champion = registry.alias("champion")
    assert champion is not None
    assert registry.tags_of(champion)["nightreel.release"] == night["release"]
    assert printed(project, "recommend", "--user", "1") == viewer
    assert retrain(project, source)["status"] == "unchanged"
    printed(project, "schedule", "--cron", "0 2 * * *", "--source", "files", "--path", str(source))


def test_from_a_copy_of_its_folder_s3_has_everything(
    released: tuple[Path, Stack, dict[str, Any]], source: Path, tmp_path: Path
) -> None:
    project, stack, night = released
    take_down(stack)
    data = stack.data("seaweedfs")
    shutil.copytree(data, tmp_path / "copy")
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "copy", data)
    bring_up(stack)
    settings = Settings(home=home_of(project))
    entries = list(Ledger(open_store("s3://nightreel/store", settings), "files").entries())
    assert [entry.release for entry in entries] == [night["release"]]
    verified = run_cli(project, "audit", "verify")
    assert verified.returncode == 0, said(verified)
    assert retrain(project, source)["status"] == "unchanged"
