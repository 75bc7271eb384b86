import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.content import ContentBased
from models.params import ContentParams
from models.protocol import Diverged
from models.video_content import VideoContent
from tests.models.histories import saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences

NAN2 = [np.nan, np.nan]
# videos 0..3 are the vocabulary, 4 and 5 nobody has watched; 3 has sound alone and 5 nothing at all
TEXT = [[1, 0], [0, 1], [-1, 0], NAN2, [0, 3], NAN2]
SOUND = [[2, 0, 0], [0, 2, 0], [np.nan] * 3, [0, 0, 2], [np.nan] * 3, [np.nan] * 3]


def content_of(**modalities):
    vectors = {name: np.array(rows, np.float32) for name, rows in modalities.items()}
    return VideoContent(vectors, {name: f"digest of {name}" for name in vectors})


BOTH = content_of(text=TEXT, sound=SOUND)


def fitted(content=BOTH, histories=((0, 1), (2, 3)), n_videos=4, **params):
    model = ContentBased(ContentParams(**params))
    model.fit(training(*map(list, histories), n_videos=n_videos, content=content))
    return model


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_one_modality_scores_the_mean_cosine_to_what_was_watched():
    rows = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    model = fitted(content_of(text=rows), centre=False)
    expected = [[(cosine(rows[0], v) + cosine(rows[2], v)) / 2 for v in rows], [cosine(rows[3], v) for v in rows]]
    np.testing.assert_allclose(scores(model, sequences([0, 2], [3])), expected, atol=1e-6)


def test_euclidean_scores_rank_by_the_mean_squared_distance():
    rows = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    model = fitted(content_of(text=rows), similarity="euclidean", centre=False)
    found = scores(model, sequences([0, 2, 5]))[0]
    spread = np.square(rows[:4]).sum(axis=1).mean()
    distance = np.square(rows[[0, 2, 5], None] - rows[None]).sum(axis=2).mean(axis=0) / spread
    np.testing.assert_allclose(found - found[0], distance[0] - distance, atol=1e-5)


def test_the_mean_of_the_watched_videos_is_taken_off():
    shifted = np.array([[11, 10], [10, 11], [9, 10], [10, 9], [10, 13], [7, 10]], np.float32)
    model = fitted(content_of(text=shifted))
    np.testing.assert_allclose(model.video_vectors(), (shifted - 10) / np.abs(shifted - 10).max(axis=1)[:, None])


def test_modalities_are_fused_by_their_weights():
    model = fitted(weights={"sound": 3.0}, centre=False)
    np.testing.assert_allclose(model.video_vectors()[0], [np.sqrt(0.75), 0, 0, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(scores(model, sequences([0]))[0, :2], [1, 0], atol=1e-6)


def test_a_lacking_modality_shortens_nothing():
    model = fitted(centre=False)
    lengths = np.square(model.video_vectors()).sum(axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 1, 1, 1, 0], atol=1e-6)
    assert scores(model, sequences([2]))[0, 0] == pytest.approx(-np.sqrt(0.5))


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_a_video_without_any_modality_counts_as_nothing_and_is_no_nan(similarity):
    model = fitted(similarity=similarity)
    assert np.isfinite(model.video_vectors()).all()
    with_it, without = model.viewer_vectors(sequences([0, 1], [0, 5, 1]))
    np.testing.assert_allclose(with_it, without, atol=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_a_viewer_of_whom_nothing_is_known_gets_zeros(similarity):
    model = fitted(similarity=similarity)
    np.testing.assert_array_equal(model.viewer_vectors(sequences([], [5], [])), np.zeros((3, model.dim)))


def test_no_viewers_at_all_are_no_error():
    assert fitted().viewer_vectors(sequences()).shape == (0, 5)


def test_old_events_count_less():
    model = fitted(content_of(text=TEXT), half_life_days=1.0, centre=False)
    np.testing.assert_allclose(model.viewer_vectors(sequences([0, 1]))[0], [1 / 3, 2 / 3], atol=1e-6)


def test_a_modality_of_weight_nothing_is_left_out():
    model = fitted(weights={"sound": 0.0})
    assert model.encoders == {"text": "digest of text"}
    assert model.dim == 2


@pytest.mark.parametrize("weights", [{"smell": 1.0}, {"text": 0.0, "sound": 0.0}])
def test_weights_that_name_nothing_there_fail_the_candidate(weights):
    with pytest.raises(Diverged, match=r"weights must name modalities among sound, text"):
        fitted(weights=weights)


@pytest.mark.parametrize("content", [None, VideoContent({}, {})])
def test_without_content_the_candidate_fails(content):
    with pytest.raises(Diverged, match=r"content needs content vectors: set encode\.text"):
        fitted(content)


def test_a_modality_that_no_watched_video_has_changes_nothing():
    with_it = content_of(text=TEXT, sound=[[np.nan]] * 4 + [[1.0], [2.0]])
    found = fitted(with_it).video_vectors()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:4, 1:], fitted(content_of(text=TEXT)).video_vectors()[:4])


@given(st.lists(st.integers(0, 39), min_size=1, max_size=60), st.sampled_from(["cosine", "euclidean"]))
def test_a_videos_bits_depend_on_nothing_but_the_video(rows, similarity):
    model, content, whole = GROWN[similarity]
    np.testing.assert_array_equal(model.embed(content, rows=np.array(rows)), whole[rows])


def grown(similarity):
    random = np.random.default_rng(1)
    tables = {name: random.normal(size=(40, dim)).astype(np.float32) for name, dim in (("text", 37), ("sound", 8))}
    tables["sound"][::3] = np.nan
    content = content_of(**tables)
    model = fitted(content, similarity=similarity)
    return model, content, model.video_vectors()


GROWN = {similarity: grown(similarity) for similarity in ("cosine", "euclidean")}


def test_what_was_saved_loads_to_the_same_bytes_and_vectors(tmp_path):
    model = fitted(weights={"sound": 0.3}, similarity="euclidean", half_life_days=7.0)
    first = saved_bytes(model, tmp_path / "a")
    assert list(first) == ["config.json", "videos.safetensors", "weights.safetensors"]
    loaded = ContentBased.load(tmp_path / "a")
    assert saved_bytes(loaded, tmp_path / "b") == first
    np.testing.assert_array_equal(loaded.embed(BOTH), model.video_vectors())
    histories = sequences([0, 3], [])
    np.testing.assert_array_equal(loaded.viewer_vectors(histories), model.viewer_vectors(histories))


def test_weights_of_another_candidate_are_refused(tmp_path):
    fitted().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"recommender": "ease"}))
    with pytest.raises(ValueError, match="config of a content"):
        ContentBased.load(tmp_path)


def test_no_keras_is_imported():
    program = "import sys, models.content; print('keras' in sys.modules or 'tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
