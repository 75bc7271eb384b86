"""S3 or MLflow fail for half a minute at bad moments of a night: it ends right, or says why, and the next one does."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.registry import Registry
from infra.settings import Settings
from infra.stores import open_store
from lineage.ledger import Ledger
from tests.flows.end_state import home_of, processes_in
from tests.flows.on_stack import on_stack
from tests.flows.project import last_json, night_words, retrain, run_cli, said
from tests.infra.fault_proxy import Fault, cut_off

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 30.0
S3 = [
    ("refuse", b"PUT /nightreel/dvc/"),
    ("503", b"PUT /nightreel/store/blobs/"),
    ("stall", b"PUT /nightreel/store/ledgers/"),
    ("truncate", b"PUT /nightreel/store/ledgers/"),
]
MLFLOW = [
    ("refuse", b"/mlflow/experiments/"),
    ("stall", b"/mlflow/runs/log-batch"),
    ("truncate", b"/mlflow/model-versions/create"),
    ("503", b"/mlflow/registered-models/alias"),
]


@pytest.fixture(scope="module")
def project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout with a stack that is up; nights there know no other Prefect server."""
    with on_stack(template, tmp_path_factory.mktemp("faults")) as (project, _):
        yield project


@pytest.mark.parametrize(("fault", "trigger"), S3)
def test_s3_fails_in_the_middle(project: Path, source: Path, fault: Fault, trigger: bytes) -> None:
    own = addresses(project)
    with cut_off(own["s3_endpoint"], fault, trigger=trigger, seconds=SECONDS) as proxy:
        group = ("store", "remote", "s3_access_key", "s3_secret_key")
        env = {f"NIGHTREEL_{name.upper()}": own[name] for name in group}
        disturbed_night(project, source, f"s3-{fault}", env | {"NIGHTREEL_S3_ENDPOINT": proxy.url})
        assert proxy.triggered
    _ends_right(project, source, f"s3-{fault}")


@pytest.mark.parametrize(("fault", "trigger"), MLFLOW)
def test_mlflow_fails_in_the_middle(project: Path, source: Path, fault: Fault, trigger: bytes) -> None:
    own = addresses(project)
    with cut_off(own["mlflow_uri"], fault, trigger=trigger, seconds=SECONDS) as proxy:
        env = {name.upper(): own[name] for name in ("mlflow_tracking_username", "mlflow_tracking_password")}
        disturbed_night(project, source, f"mlflow-{fault}", env | {"NIGHTREEL_MLFLOW_URI": proxy.url})
        assert proxy.triggered
    _ends_right(project, source, f"mlflow-{fault}")


def addresses(project: Path) -> dict[str, str]:
    """Where the stack's services are, and what they ask for."""
    found = json.loads((home_of(project) / "stack/addresses.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def disturbed_night(project: Path, source: Path, name: str, env: dict[str, str]) -> None:
    """A night of the recommender `name` that may fail, in one sentence that says who did not answer."""
    done = run_cli(project, *night_words(source, "--set", f"name={name}"), "--json", env=env)
    assert done.returncode in (0, 2), said(done)
    assert "Traceback" not in done.stderr, said(done)
    told = last_json(done.stdout)
    assert (told.get("status"), told.get("error")) == ((None, "Unreachable") if done.returncode else ("released", None))


def _ends_right(project: Path, source: Path, name: str) -> None:
    """After one more night there is one release, it is whole, and MLflow says the same of it."""
    assert retrain(project, source, "--set", f"name={name}")["status"] in ("released", "unchanged")
    assert processes_in(home_of(project) / "runs") == {}
    settings = Settings(home=home_of(project))
    (entry,) = Ledger(open_store("s3://nightreel/store", settings), name).entries()
    assert (entry.action, entry.model_version) == ("release", "1")
    registry = Registry(settings, name)
    assert registry.alias("champion") == "1"
    verified = run_cli(project, "audit", "verify", "--name", name)
    assert verified.returncode == 0, said(verified)
