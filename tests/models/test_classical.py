"""What holds of every candidate that is solved rather than trained by gradients."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.catalogue import load, recommender
from models.params import Candidates
from tests.models.histories import dense, saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences

WATCHED = ([0, 1, 4], [0, 1, 2], [2, 3], [], [4, 3, 1, 0])
SETTINGS = {
    "popularity": [{}],
    "itemknn": [{"similarity": similarity} for similarity in ("cosine", "pearson", "jaccard")],
    "userknn": [{"similarity": similarity} for similarity in ("cosine", "pearson", "jaccard")],
    "hybridcf": [{}, {"weight": 0.2, "users": {"similarity": "pearson", "shrink": 0.0}}],
    "ease": [{}],
    "easemarkov": [{}, {"half_life_days": 1.0, "gap_half_life_days": 1.0}],
    "ials": [{"factors": 4}],
}
CASES = [
    pytest.param(name, params, id=f"{name}-{at}")
    for name, all_of in SETTINGS.items()
    for at, params in enumerate(all_of)
]
pytestmark = pytest.mark.parametrize(("name", "params"), CASES)


def fitted(name, params, *watched, n_videos=None):
    model = recommender(name, getattr(Candidates.model_validate({name: params}), name))
    facts = model.fit(training(*watched, n_videos=n_videos))
    assert facts["device"] == "cpu"
    return model


def test_what_was_saved_loads_to_the_same_bytes_and_scores(name, params, tmp_path):
    model = fitted(name, params, *WATCHED)
    first = saved_bytes(model, tmp_path / "a")
    assert set(first) == {"weights.safetensors", "config.json"}
    loaded = load(name, tmp_path / "a")
    assert saved_bytes(loaded, tmp_path / "b") == first
    histories = sequences([1], [2, 0], [])
    np.testing.assert_array_equal(scores(loaded, histories), scores(model, histories))


def test_two_trainings_give_the_same_bytes(name, params, tmp_path):
    first = saved_bytes(fitted(name, params, *WATCHED), tmp_path / "a")
    assert saved_bytes(fitted(name, params, *WATCHED), tmp_path / "b") == first


def test_a_viewer_scores_by_history_alone(name, params):
    """Seen in training or not, asked for alone or among others."""
    model = fitted(name, params, *WATCHED)
    among = dense(model.viewer_vectors(sequences(*WATCHED)))
    for viewer, history in enumerate(WATCHED):
        np.testing.assert_array_equal(dense(model.viewer_vectors(sequences(history)))[0], among[viewer])


def test_shapes_and_kinds_are_the_protocols(name, params):
    model = fitted(name, params, *WATCHED)
    viewers, videos = model.viewer_vectors(sequences([1], [])), model.video_vectors()
    assert (viewers.shape[0], videos.shape[0]) == (2, 5)
    assert viewers.shape[1] == videos.shape[1]
    assert viewers.dtype == videos.dtype == np.float32
    assert type(viewers) is type(videos)


def test_no_viewers_are_folded_in_too(name, params):
    assert scores(fitted(name, params, *WATCHED), sequences()).shape == (0, 5)


@pytest.mark.parametrize("watched", [[[0]], [[0], []], [[], []]])
def test_a_catalogue_of_one_video(name, params, watched):
    found = scores(fitted(name, params, *watched, n_videos=1), sequences([0], []))
    assert found.shape == (2, 1)
    assert np.isfinite(found).all()


def test_viewers_who_all_watched_the_same(name, params):
    model = fitted(name, params, *[[2, 0, 1]] * 4, n_videos=4)
    found = scores(model, sequences([2, 0], [3]))
    assert np.isfinite(found).all()
    # 1 is the only video left that anybody watched; to Pearson one that everybody watched is like nothing
    assert found[0, 1] >= found[0, 3]
    assert found[0, 3] == 0


def test_an_empty_history_knows_no_preference(name, params):
    if name == "popularity":
        pytest.skip("its list is the same for all")
    found = scores(fitted(name, params, *WATCHED), sequences([]))
    np.testing.assert_array_equal(found, np.zeros((1, 5)))


PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from models.catalogue import recommender
from models.params import Candidates
from tests.models.histories import training
draw = np.random.default_rng(0)
watched = [draw.choice(300, 20, replace=False).tolist() for _ in range(400)]
name = sys.argv[1]
model = recommender(name, getattr(Candidates.model_validate({name: json.loads(sys.argv[3])}), name))
model.fit(training(*watched))
model.save(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_two_processes_save_the_same_bytes_on_other_numbers_of_threads_too(name, params, tmp_path):
    found = []
    for at, threads in enumerate("12"):
        out = tmp_path / str(at)
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-W", "error", "-c", PROGRAM, name, str(out), json.dumps(params)]
        ran = subprocess.run(
            command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        found.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert found[0] == found[1]
