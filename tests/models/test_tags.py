import numpy as np
import pytest

from models.params import TagsParams
from models.tags import FineTuned, described, zero_shot
from models.video_content import VideoContent
from tests.models.histories import saved_bytes

PARAMS = TagsParams(l2=1e-4)


def content(**tables):
    vectors = {name: np.array(table, np.float32) for name, table in tables.items()}
    return VideoContent(vectors, {name: f"digest of {name}" for name in vectors})


def two_clouds(n=40, *, seed=0):
    """Videos whose text tells cats from dogs, and whose frames tell dogs from fish."""
    rng = np.random.default_rng(seed)
    categories = [("cat", "dog", "fish")[at % 3] for at in range(n)]
    text = np.array([[category == "cat", 0] for category in categories]) + rng.normal(scale=0.1, size=(n, 2))
    frames = np.array([[0, 0, category == "fish"] for category in categories]) + rng.normal(scale=0.1, size=(n, 3))
    return content(text=text, frames=frames), categories


def test_zero_shot_says_the_nearest_name_and_its_scores_sum_to_one():
    videos = content(text=[[1, 0, 0.1], [0, 1, 0.1], [np.nan, np.nan, np.nan]])
    scores = zero_shot(videos, np.array([[0, 2, 0], [2, 0, 0]], np.float32), temperature=0.1)
    assert scores[:2].argmax(axis=1).tolist() == [1, 0]
    np.testing.assert_allclose(scores[:2].sum(axis=1), 1, atol=1e-6)
    assert np.isnan(scores[2]).all()


def test_zero_shot_is_the_softmax_of_centred_cosines():
    videos = content(text=[[3, 1], [1, 3]])
    scores = zero_shot(videos, np.array([[1, 0], [0, 1]], np.float32), temperature=0.5)
    expected = np.exp([2.0, -2.0]) / np.exp([2.0, -2.0]).sum()
    np.testing.assert_allclose(scores, [expected, expected[::-1]], atol=1e-6)


def test_zero_shot_without_names_or_videos_says_nothing():
    assert zero_shot(content(text=[[1, 0]]), np.empty((0, 2), np.float32), temperature=1.0).shape == (1, 0)
    bare = zero_shot(content(text=[[np.nan, np.nan]]), np.eye(2, dtype=np.float32), temperature=1.0)
    assert np.isnan(bare).all()


def test_a_tagger_learns_from_all_modalities_together():
    videos, categories = two_clouds()
    tagger = FineTuned.fit(videos, np.arange(40), categories, params=PARAMS)
    assert tagger.labels == ("cat", "dog", "fish")
    fresh, truth = two_clouds(30, seed=1)
    scores = tagger.scores(fresh)
    assert [tagger.labels[at] for at in scores.argmax(axis=1)] == truth
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_an_absent_modality_is_masked_and_a_video_without_any_has_no_scores():
    videos, categories = two_clouds()
    videos.vectors["frames"][::2] = np.nan
    tagger = FineTuned.fit(videos, np.arange(40), categories, params=PARAMS)
    partly = content(text=[[1, 0], [np.nan, np.nan]], frames=[[np.nan] * 3, [np.nan] * 3])
    scores = tagger.scores(partly)
    assert tagger.labels[scores[0].argmax()] == "cat"
    assert np.isnan(scores[1]).all()
    assert described(partly).tolist() == [0]


def test_the_fit_is_at_the_minimum_that_the_formula_has():
    videos = content(text=[[1.0], [-1.0], [1.0], [-1.0]])
    params = TagsParams(l2=0.5, balance=0.0)
    tagger = FineTuned.fit(videos, np.arange(4), ["a", "b", "a", "b"], params=params)
    w = float(tagger.arrays["kernel"][0, 0])  # by symmetry (w, -w): the slope -1/(1+e^2w) + 0.5 w vanishes
    assert 1 / (1 + np.exp(2 * w)) == pytest.approx(params.l2 * w, abs=1e-4)


def test_balance_gives_rare_categories_their_weight():
    rng = np.random.default_rng(0)
    text = np.concatenate([rng.normal(0, 1, (95, 1)), rng.normal(1, 1, (5, 1))])
    videos, categories = content(text=text), ["common"] * 95 + ["rare"] * 5
    said = {}
    for balance in (0.0, 1.0):
        tagger = FineTuned.fit(videos, np.arange(100), categories, params=TagsParams(l2=1e-4, balance=balance))
        said[balance] = int((tagger.scores(videos).argmax(axis=1) == tagger.labels.index("rare")).sum())
    assert said[0.0] < 5 < said[1.0]


def test_two_fits_give_the_same_bytes_and_load_to_the_same_scores(tmp_path):
    videos, categories = two_clouds()
    tagger = FineTuned.fit(videos, np.arange(40), categories, params=PARAMS)
    again = FineTuned.fit(videos, np.arange(40), categories, params=PARAMS)
    assert saved_bytes(tagger, tmp_path / "a") == saved_bytes(again, tmp_path / "b")
    loaded = FineTuned.load(tmp_path / "a")
    assert loaded.labels == tagger.labels
    np.testing.assert_array_equal(loaded.scores(videos), tagger.scores(videos))


def test_vectors_of_another_encoder_are_refused():
    videos, categories = two_clouds()
    tagger = FineTuned.fit(videos, np.arange(40), categories, params=PARAMS)
    other = VideoContent(videos.vectors, {"text": "another", "frames": "digest of frames"})
    with pytest.raises(ValueError, match=r"learnt from vectors of .*Received: .*another"):
        tagger.scores(other)


def test_one_category_is_nothing_to_learn():
    with pytest.raises(ValueError, match=r"two categories or more\. Received: \['cat'\]"):
        FineTuned.fit(content(text=[[1.0], [2.0]]), np.arange(2), ["cat", "cat"], params=PARAMS)
