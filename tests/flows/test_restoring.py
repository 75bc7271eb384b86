"""What people delete in MLflow of the live model is found and comes back from the release store."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flows.live import Live
from flows.people import answer_people
from flows.restoring import restore_live
from infra.errors import Refused
from infra.registry import RESTORES
from tests.flows.project import cli_environment, last_json, retrain
from tests.flows.test_night import SERVE

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("ignore"),  # MLflow warns of its own code when its pyfunc flavour is imported
]


@pytest.fixture(scope="module")
def served(warm: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a live release of its own, since MLflow's artifacts are at absolute paths."""
    project = Path(shutil.copytree(warm, tmp_path_factory.mktemp("restoring") / "project"))
    assert retrain(project, source)["model_version"] == "1"
    return project


@pytest.fixture
def live(served: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    monkeypatch.chdir(served)
    live = Live.open(None)
    assert (restore_live(live), answer_people(live)) == ([], [])
    return live


def number(live: Live) -> str:
    """The version that stands for the live one, which is where the alias is."""
    shown = live.registry.shown()
    standing = shown.standing_for("1")
    assert standing is not None
    assert standing == shown.aliases["champion"]
    return standing


def model(live: Live):
    with live.registry._asked() as client:
        return client.get_logged_model(live.registry._model_of(client, number(live)))


def run(live: Live) -> str:
    with live.registry._asked() as client:
        return str(client.get_model_version("files", number(live)).run_id)


def _delete_version(live: Live) -> None:
    with live.registry._asked() as client:
        client.delete_model_version("files", number(live))


def _delete_all_files(live: Live) -> None:
    live.registry.delete_artifacts(model(live).artifact_location)


def _delete_a_file(live: Live) -> None:
    files = live.registry.model_files(number(live))
    assert files is not None
    index = next(path for path in files if path.endswith("/index/index.json"))
    get_artifact_repository(model(live).artifact_location).delete_artifacts(index)


def _delete_model(live: Live) -> None:
    with live.registry._asked() as client:
        client.delete_logged_model(model(live).model_id)


def _delete_run(live: Live) -> None:
    with live.registry._asked() as client:
        client.delete_run(run(live))


def _delete_run_and_version(live: Live) -> None:
    _delete_run(live)
    _delete_version(live)


@pytest.mark.parametrize(
    ("delete", "anew"),
    [
        (_delete_version, True),
        (_delete_a_file, False),
        (_delete_all_files, False),
        (_delete_run, False),
        (_delete_model, True),
        (_delete_run_and_version, True),
    ],
)
def test_what_is_deleted_comes_back(live: Live, delete: Callable[[Live], None], anew: bool) -> None:
    before, entries = number(live), list(live.ledger.entries())
    tags = live.registry.tags_of(before)
    delete(live)
    found = restore_live(live)
    assert {each.what for each in found} == {"restored"}
    now = number(live)
    assert (now != before, found[-1].version) == (anew, now)
    assert live.registry.tags_of(now) == tags | ({RESTORES: "1"} if anew else {})
    assert (restore_live(live), answer_people(live), list(live.ledger.entries())) == ([], [], entries)
    with live.registry._asked() as client:
        assert client.get_run(run(live)).info.lifecycle_stage == "active"


def test_what_came_back_answers_as_before(live: Live, served: Path, source: Path) -> None:
    (served / "serve.py").write_text(SERVE)
    uri = f"sqlite:///{served / '.nightreel/mlflow.db'}"
    user = (source / "events/2016-10-13/part-0.csv").read_text().splitlines()[1].split(",")[0]
    env = {name: value for name, value in cli_environment(served).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "serve.py", uri, user], cwd=served, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    _, bundle = live.bundle()
    videos = [str(video["video_id"]) for video in bundle.recommend(user, k=3).videos]
    assert [row["video_id"] for row in last_json(done.stdout.splitlines()[-1])] == videos


def test_a_restored_version_is_live_already(live: Live) -> None:
    with pytest.raises(Refused, match="is live already, as entry 1"):
        live.promote(number(live), reason="twice")


def test_what_the_store_lost_as_well_is_told_once(live: Live, served: Path) -> None:
    manifest = live.releases.manifest(live.head.release)
    blob = served / ".nightreel/store/blobs/sha256"
    digest = manifest.parts["index/index.json"].sha256
    kept = (blob / digest[:2] / digest).read_bytes()
    (blob / digest[:2] / digest).unlink()
    shutil.rmtree(served / ".nightreel/releases")
    _delete_a_file(live)
    (found,) = restore_live(live)
    assert found.what == "lost"
    assert "is damaged in MLflow and stays so: Release" in found.said
    assert restore_live(live) == []
    (blob / digest[:2] / digest).write_bytes(kept)
    assert [each.what for each in restore_live(live)] == ["restored"]
