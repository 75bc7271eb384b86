import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models import ranking
from models.ranking import best_columns, top_k
from tests.tasks.prepared_folder import sequences

# few values, so that ties are common; all exact in float32
VALUES = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])


def brute_force(viewers, videos, seen, k):
    """Sort every viewer's videos by score, then index."""
    lists = []
    for viewer, vector in enumerate(viewers):
        unseen = [video for video in range(len(videos)) if video not in seen[viewer]]
        ordered = sorted(unseen, key=lambda video, vector=vector: (-float(vector @ videos[video]), video))
        lists.append((ordered + [-1] * k)[:k])
    return np.array(lists).reshape(-1, k)


@st.composite
def problems(draw):
    n_viewers, n_videos, dim = draw(st.integers(1, 7)), draw(st.integers(1, 9)), draw(st.integers(1, 3))
    viewers = draw(arrays(np.float32, (n_viewers, dim), elements=VALUES))
    videos = draw(arrays(np.float32, (n_videos, dim), elements=VALUES))
    seen = draw(st.lists(st.lists(st.integers(0, n_videos - 1)), min_size=n_viewers, max_size=n_viewers))
    return viewers, videos, seen, draw(st.integers(1, 12))


@given(problems(), st.booleans(), st.integers(1, 40))
def test_it_equals_sorting_whatever_the_kind_of_vectors_and_size_of_blocks(problem, sparse, block):
    viewers, videos, seen, k = problem
    kind = sp.csr_array if sparse else np.asarray
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "SCORES_A_BLOCK", block)
        lists, scores = top_k(kind(viewers), kind(videos), sequences(*seen), k)
    np.testing.assert_array_equal(lists, brute_force(viewers, videos, seen, k))
    assert lists.dtype == np.int32
    assert scores.dtype == np.float32
    own = np.einsum("vd,vkd->vk", viewers, videos[lists])
    np.testing.assert_array_equal(scores, np.where(lists < 0, -np.inf, own))


# what zeros are moved to when they are many: a true score there must keep its place
NEXT_TO_ZERO = np.finfo(np.float32).tiny * np.array([-1, -2, -9, 1], np.float32)


@given(arrays(np.float32, (3, 9), elements=st.sampled_from([0.0, -0.0, -np.inf, -1.0, 1.0, *NEXT_TO_ZERO])), st.data())
def test_many_zeros_keep_their_order_among_scores_next_to_zero(table, data):
    k = data.draw(st.integers(1, 9))
    np.testing.assert_array_equal(best_columns(table, k), np.argsort(-table, axis=1, kind="stable")[:, :k])


def test_real_sizes_equal_a_stable_sort():
    draw = np.random.default_rng(0)
    viewers = draw.normal(size=(300, 16)).astype(np.float32)
    videos = draw.normal(size=(2000, 16)).astype(np.float32)
    seen = sequences(*[draw.choice(2000, 50).tolist() for _ in range(300)])
    table = viewers @ videos.T
    for viewer in range(300):
        table[viewer, seen.of(viewer)] = -np.inf
    expected = np.argsort(-table, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(top_k(viewers, videos, seen, 20)[0], expected)


def test_a_viewer_who_has_seen_all_gets_nothing():
    lists, scores = top_k(np.ones((1, 1), np.float32), np.ones((2, 1), np.float32), sequences([0, 1]), 3)
    assert lists.tolist() == [[-1, -1, -1]]
    assert scores.tolist() == [[-np.inf] * 3]


def test_no_viewers_give_no_lists():
    lists, _ = top_k(np.ones((0, 4), np.float32), np.ones((3, 4), np.float32), sequences(), 2)
    assert lists.shape == (0, 2)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_an_error_never_a_list(poison):
    videos = np.ones((500, 1), np.float32)
    videos[321] = poison
    with pytest.raises(ValueError, match="finite"):
        top_k(np.ones((2, 1), np.float32), videos, sequences([], [3]), 5)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"Received: \(2, 3\), \(5, 4\), 2 histories, k=1"):
        top_k(np.ones((2, 3), np.float32), np.ones((5, 4), np.float32), sequences([], []), 1)
    with pytest.raises(ValueError, match="3 histories"):
        top_k(np.ones((2, 3), np.float32), np.ones((5, 3), np.float32), sequences([], [], []), 1)
    with pytest.raises(ValueError, match="k=0"):
        top_k(np.ones((2, 3), np.float32), np.ones((5, 3), np.float32), sequences([], []), 0)
