import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue import recommender
from models.explain import MOST, contributions, without_each
from models.params import Candidates
from models.protocol import Training
from models.sequences import Sequences

DAY = 86_400_000


def history(*rows):
    videos = np.array([video for row in rows for video in row], np.int32)
    times = np.concatenate([np.arange(len(row)) * DAY for row in rows] or [[]]).astype(np.int64)
    return Sequences(np.cumsum([0, *map(len, rows)]), videos, times, np.ones(len(videos), np.float32))


def trained(name, n_videos=8, **changed):
    params = getattr(Candidates(), name).model_copy(update=changed)
    rows = [[(start + step * 2) % n_videos for step in range(4)] for start in range(12)]
    learnt, nothing = history(*rows), history(*([[]] * 12))
    model = recommender(name, params)
    model.fit(Training(learnt, nothing, n_videos=n_videos, now=4 * DAY, seed=1))
    return model


def scores(model, of):
    found = model.viewer_vectors(of) @ model.video_vectors().T
    return np.asarray(found.todense() if hasattr(found, "todense") else found)


@pytest.mark.parametrize("name", ["itemknn", "ease", "easemarkov"])
def test_a_sum_over_watched_videos_falls_apart_into_its_terms(name):
    model, one = trained(name, half_life_days=3.0), history([1, 4, 6, 1])
    watched, parts, exact = contributions(model, one, np.array([0, 3, 7]))
    assert exact
    assert watched.tolist() == [1, 4, 6]
    np.testing.assert_allclose(parts.sum(axis=1), scores(model, one)[0, [0, 3, 7]], rtol=1e-5, atol=1e-7)


def test_the_terms_of_neighbours_are_their_likenesses():
    model = trained("itemknn")
    watched, parts, _ = contributions(model, history([1, 4]), np.array([3]))
    np.testing.assert_array_equal(parts[0], model.video_vectors()[[3]].toarray()[0, watched])


@pytest.mark.parametrize("name", ["userknn", "hybridcf", "popularity"])
def test_other_models_are_asked_without_the_video(name):
    model, one = trained(name), history([1, 4, 6])
    watched, parts, exact = contributions(model, one, np.array([0, 5]))
    assert not exact
    whole = scores(model, one)[0]
    for at, left in enumerate(([4, 6], [1, 6], [1, 4])):
        lacking = scores(model, history(left))[0] if name == "popularity" else _lacking(model, one, watched[at])
        np.testing.assert_allclose(parts[:, at], (whole - lacking)[[0, 5]], rtol=1e-5, atol=1e-7)
    if name == "popularity":
        assert not parts.any()


def _lacking(model, one, video):
    return scores(model, one.where(one.videos != video))[0]


def test_of_a_long_history_the_newest_are_left_out():
    model = trained("userknn", n_videos=300)
    watched, parts, _ = contributions(model, history(list(range(MOST + 50))), np.array([299]))
    assert watched.tolist() == list(range(50, MOST + 50))
    assert parts.shape == (1, MOST)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_each_history_lacks_one_video_and_keeps_the_order(videos):
    one, watched = history(videos), np.unique(videos)
    found = without_each(one, watched)
    assert found.n_viewers == len(watched)
    for viewer, video in enumerate(watched):
        assert found.of(viewer).tolist() == [each for each in videos if each != video]
