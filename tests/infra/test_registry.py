"""MLflow on SQLite: found by key before made, tags, aliases, and one sentence when it does not answer."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.errors import BadInput, Unreachable
from infra.registry import KEY, Registry
from infra.settings import Settings


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return Registry(Settings(home=tmp_path_factory.mktemp("home"), mlflow_uri=None), "clips")


def test_a_run_is_made_once(registry):
    first = registry.run("night-1", title="night-1", tags={"kind": "night"})
    assert registry.run("night-1", title="night-1", tags={"kind": "night"}) == first
    child = registry.run("night-1/ease", title="ease", tags={}, parent=first)
    assert child != first
    with registry._asked() as client:
        tags = client.get_run(child).data.tags
    assert (tags[KEY], tags["mlflow.parentRunId"]) == ("night-1/ease", first)


def test_what_is_logged_is_there(registry, tmp_path):
    run = registry.run("night-2", title="night-2", tags={})
    metrics = [
        ("ndcg@10", 0.5, 0),
        ("slices.activity=low.ndcg@10", 0.25, 0),
        *[("epoch.loss", 1 / n, n) for n in (1, 2)],
    ]
    registry.log(run, params={f"p{n}": n for n in range(150)}, metrics=metrics)
    registry.log_inputs(run, {"events": ("a" * 64, "logs/events")})
    (tmp_path / "verdict.json").write_text("{}")
    registry.log_files(run, tmp_path / "verdict.json", "verdict")
    assert not registry.is_finished(run)
    registry.finish(run)
    assert registry.is_finished(run)
    with registry._asked() as client:
        logged = client.get_run(run)
        steps = [(point.step, point.value) for point in client.get_metric_history(run, "epoch.loss")]
        files = [file.path for file in client.list_artifacts(run, "verdict")]
    assert logged.data.metrics["ndcg_at_10"] == 0.5
    assert logged.data.metrics["slices.activity/low.ndcg_at_10"] == 0.25
    assert (len(logged.data.params), steps, files) == (150, [(1, 1.0), (2, 0.5)], ["verdict/verdict.json"])
    (given,) = logged.inputs.dataset_inputs
    assert (given.dataset.digest, {tag.key: tag.value for tag in given.tags}["sha256"]) == ("a" * 36, "a" * 64)


def test_a_version_is_found_by_its_key_and_carries_tags(registry):
    run = registry.run("night-3", title="night-3", tags={})
    assert registry.version_of("night-3") is None
    made = registry.create_version("night-3", source=f"runs:/{run}/model", run=run, tags={"verdict": "refused"})
    found = registry.version_of("night-3")
    assert found is not None
    assert str(found.version) == made
    registry.tag_version(made, {"verdict": "passed"})
    assert registry.tags_of(made)["verdict"] == "passed"
    with pytest.raises(BadInput, match="There is no model version 99 of clips"):
        registry.tags_of("99")


def test_artifacts_of_a_run_its_children_and_its_models_can_be_deleted(registry, tmp_path):
    night = registry.run("night-5", title="night-5", tags={})
    child = registry.run("night-5/ease", title="ease", tags={}, parent=night)
    (tmp_path / "plots").mkdir()
    for file in ("viewers.parquet", "plots/a.png", "verdict.json"):
        (tmp_path / file).write_text("viewer 7")
    registry.log_files(night, tmp_path / "verdict.json", "verdict")
    for file in ("viewers.parquet", "plots"):
        registry.log_files(child, tmp_path / file, "evaluation")
    with registry._asked() as client:
        model = client.create_logged_model(registry.experiment, source_run_id=night)
        client.log_model_artifact(model.model_id, str(tmp_path / "viewers.parquet"))
    assert registry.artifacts("night", below=["evaluation"]) == []
    found = registry.artifacts("night-5", below=["evaluation", "data-docs"])
    assert [Path(uri).parts[-2:] for uri in found] == [(model.model_id, "artifacts"), ("artifacts", "evaluation")]
    for uri in (*found, *found):
        registry.delete_artifacts(uri)
    assert registry.artifacts("night-5", below=["evaluation", "data-docs"]) == []
    assert registry.artifacts("night-5", below=["verdict"]) == [
        f"{Path(found[1]).parents[2]}/{night}/artifacts/verdict"
    ]


def test_the_alias_follows_the_ledger_and_asks_once(registry):
    run = registry.run("night-4", title="night-4", tags={})
    one, two = (registry.create_version(f"v{n}", source=f"runs:/{run}/m", run=run, tags={}) for n in (1, 2))
    for seq, version in enumerate((one, two, one), start=1):
        registry.mirror_once("champion", version, seq=seq)
        with registry._asked() as client:
            assert str(client.get_model_version_by_alias("clips", "champion").version) == version
    with registry._asked() as client:
        client.set_registered_model_alias("clips", "champion", two)
    registry.mirror_once("champion", one, seq=3)
    with registry._asked() as client:
        assert str(client.get_model_version_by_alias("clips", "champion").version) == two


def test_a_server_that_is_gone_is_one_sentence_without_its_password(tmp_path):
    gone = Registry(Settings(home=tmp_path, mlflow_uri="http://ada:secret@127.0.0.1:1"), "clips")
    with pytest.raises(Unreachable) as told:
        gone.run("night", title="night", tags={})
    assert "MLflow at " in str(told.value)
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


MAKE = """
import sys
import subprocess
import sys
import time
from pathlib import Path
from infra.registry import Registry
from infra.settings import Settings
print(Registry(Settings(home=Path(sys.argv[1])), "reel").experiment)
"""


def test_a_database_whose_making_was_killed_is_made_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    making = subprocess.Popen([sys.executable, "-c", MAKE, str(home)], stderr=subprocess.DEVNULL)
    while not (home / "mlflow.partial.db").exists() or not (home / "mlflow.partial.db").stat().st_size:
        assert making.poll() is None
        time.sleep(0.002)
    making.kill()
    making.wait()
    assert not (home / "mlflow.db").exists()
    assert Registry(Settings(home=home), "reel").experiment == "1"
    assert sorted(path.name for path in home.iterdir()) == ["mlflow.db", "mlflow.lock"]
