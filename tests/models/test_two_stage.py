import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.two_stage import NONE, Pool, Retrievers, TwoStage, best_of
from tests.tasks.prepared_folder import sequences


class Fixed:
    """Scores video `j` with `scores[j]`, whoever asks."""

    def __init__(self, *scores):
        self.scores = np.array(scores, np.float32)

    def viewer_vectors(self, histories):
        return np.ones((histories.n_viewers, 1), np.float32)

    def video_vectors(self):
        return self.scores[:, None]


class BySum(TwoStage):
    """Ranks what is proposed by the sum of its retrievers' scores."""

    def __init__(self, retrievers, each):
        self.each, self._retrievers = each, retrievers

    def _scores(self, histories, pool):
        return np.sum(list(pool.scores.values()), axis=0)


UP, DOWN = Fixed(0, 1, 2, 3, 4, 5), Fixed(5, 4, 3, 2, 1, 0)


def proposed(histories, each, **options):
    (_, _, pool), *more = Retrievers({"up": UP, "down": DOWN}).propose(histories, each, **options)
    assert not more
    return pool


def test_a_pool_is_the_union_of_what_each_proposes_and_nothing_seen():
    pool = proposed(sequences([5], []), 2)
    assert list(zip(pool.viewers.tolist(), pool.videos.tolist(), strict=True)) == [
        (0, 0), (0, 1), (0, 3), (0, 4), (1, 0), (1, 1), (1, 4), (1, 5)
    ]  # fmt: skip
    assert pool.places["up"].tolist() == [2, 2, 1, 0, 2, 2, 1, 0]
    assert pool.places["down"].tolist() == [0, 1, 2, 2, 0, 1, 2, 2]
    assert pool.scores["up"].tolist() == [-1, -1, 0, 1, -1, -1, 0, 1]  # 1 the best, 0 the last, cut off at -1
    assert pool.proposed.all()


def test_what_is_added_is_in_the_pool_but_not_proposed():
    pool = proposed(sequences([]), 1, also=sequences([2, 5]))
    assert pool.videos.tolist() == [0, 2, 5]
    assert pool.proposed.tolist() == [True, False, True]


def test_what_is_not_listed_is_not_proposed():
    assert proposed(sequences([]), 1, listed=np.array([1, 2, 3], np.int32)).videos.tolist() == [1, 3]


def test_who_has_seen_everything_is_proposed_nothing():
    pool = proposed(sequences(range(6), [0]), 2)
    assert set(pool.viewers.tolist()) == {1}


def test_scores_that_tie_are_no_help_and_none_that_is_not_finite_passes():
    ((_, _, pool),) = Retrievers({"flat": Fixed(1, 1, 1)}).propose(sequences([]), 2)
    assert pool.scores["flat"].tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"Scores must be finite\. Received: NaN or infinity from broken"):
        list(Retrievers({"broken": Fixed(1, np.nan)}).propose(sequences([]), 1))


def test_lists_are_the_best_of_the_pool_with_ties_by_index():
    model = BySum(Retrievers({"up": UP, "down": DOWN}), each=2)
    lists, scores = model.rank(sequences([], [0, 1, 2, 3, 4]), 3)
    assert lists.tolist() == [[0, 5, 1], [5, NONE, NONE]]
    assert scores[0].tolist() == [0, 0, -0.5]  # each proposes three where three are asked for
    assert np.isneginf(scores[1, 1:]).all()
    asked = model.score(sequences([], [3]), np.array([5, 0, 2]))
    np.testing.assert_array_equal(asked[0], [0, 0, -2])


def test_the_first_retriever_lends_its_vectors():
    model = BySum(Retrievers({"down": DOWN, "up": UP}), each=2)
    assert model.video_vectors()[:, 0].tolist() == [5, 4, 3, 2, 1, 0]


@given(st.lists(st.lists(st.integers(0, 5), max_size=5), min_size=1, max_size=6), st.integers(1, 8))
def test_blocks_make_no_difference_and_lists_hold_nothing_seen_or_twice(watched, k):
    model, histories = BySum(Retrievers({"up": UP, "down": DOWN}), each=3), sequences(*watched)
    lists, _ = model.rank(histories, k)
    for viewer, seen in enumerate(watched):
        alone, _ = model.rank(sequences(seen), k)
        assert alone[0].tolist() == lists[viewer].tolist()
        found = [video for video in lists[viewer] if video != NONE]
        assert len(found) == len(set(found)) == min(k, 6 - len(set(seen)))
        assert not set(found) & set(seen)


def test_best_of_keeps_viewers_without_a_pair():
    pool = Pool(np.array([1, 1]), np.array([4, 2], np.int32), {}, {}, 1)
    lists, _ = best_of(pool, np.array([1, 1], np.float32), 2, n_viewers=3)
    assert lists.tolist() == [[NONE, NONE], [2, 4], [NONE, NONE]]
