from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ease import Ease
from models.easemarkov import EaseMarkov, newest_videos, transitions
from models.params import EaseMarkovParams, EaseParams
from tests.models.histories import scores, training
from tests.models.test_ease import plain_ease
from tests.tasks.prepared_folder import sequences

LISTS = st.lists(st.lists(st.integers(0, 5), max_size=8), min_size=1, max_size=6)


def fitted(*watched, n_videos=None, **params):
    model = EaseMarkov(EaseMarkovParams(**params))
    model.fit(training(*watched, n_videos=n_videos))
    return model


def plain_transitions(watched, n_videos, shrink):
    """Pair by pair: the oracle."""
    counts = np.zeros((n_videos, n_videos))
    for row in watched:
        for one, other in pairwise(row):
            counts[other, one] += one != other
    return counts / np.where(counts.sum(axis=0) + shrink > 0, counts.sum(axis=0) + shrink, 1)


def steps(*watched, n_videos, shrink=0.0, gap=None):
    return transitions(sequences(*watched), n_videos=n_videos, shrink=shrink, gap_half_life_days=gap).toarray()


def test_a_transition_is_the_share_of_what_followed_shrunk():
    # 0 is followed by 1 twice and by 2 once, 1 by 2 once, 2 by nothing
    found = steps([0, 1, 2], [0, 1], [0, 2], n_videos=3, shrink=1.0)
    np.testing.assert_allclose(found, [[0, 0, 0], [2 / 4, 0, 0], [1 / 4, 1 / 2, 0]], rtol=1e-6)


def test_viewers_do_not_lead_to_each_other_nor_a_video_to_itself():
    assert steps([0, 0, 1], [2], n_videos=3).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert not steps([], [0], [1], n_videos=2).any()


def test_a_longer_gap_counts_less():
    # days 0 and 1 apart: half a transition, so c_01 / (c_0 + 1) = 0.5 / 1.5
    np.testing.assert_allclose(steps([0, 1], n_videos=2, shrink=1.0, gap=1.0), [[0, 0], [1 / 3, 0]], rtol=1e-6)


@given(LISTS, st.sampled_from([0.0, 1.0, 7.0]))
def test_transitions_are_the_pairs_counted_one_by_one(watched, shrink):
    found = steps(*watched, n_videos=6, shrink=shrink)
    np.testing.assert_allclose(found, plain_transitions(watched, 6, shrink), rtol=1e-6)
    assert (found.sum(axis=0) <= 1 + 1e-6).all()


def test_the_newest_count_by_one_over_their_place():
    found = newest_videos(sequences([4, 2, 0, 2], [], [1]), 3, n_videos=5).toarray()
    # places 1, 2, 3 from the end: videos 2, 0, 2, weights 1, 1/2, 1/3 of 11/6
    expected = [[6 / 11 * 1 / 2, 0, 6 / 11 * 4 / 3, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(LISTS, st.lists(st.integers(0, 5), min_size=1, max_size=6), st.sampled_from([0.0, 0.4, 1.0]))
def test_the_score_is_the_blend(watched, history, blend):
    model = fitted(*watched, n_videos=6, l2=2.0, neighbours=6, blend=blend, shrink=1.0, newest=2)
    own = np.isin(np.arange(6), history) @ plain_ease(watched, 6, 2.0)
    places = [(1, history[-1]), *([(2, history[-2])] if len(history) > 1 else [])]
    total = sum(1 / place for place, _ in places)
    led = plain_transitions(watched, 6, 1.0)
    expected = (1 - blend) * own + blend * sum(led[:, video] / place for place, video in places) / total
    np.testing.assert_allclose(scores(model, sequences(history))[0], expected, atol=1e-4)


def test_a_fold_in_reads_the_order():
    model = fitted([0, 1], [2, 3], blend=1.0, newest=1, shrink=0.0)
    found = scores(model, sequences([0, 2], [2, 0]))
    np.testing.assert_array_equal(found, [[0, 0, 0, 1], [0, 1, 0, 0]])


def test_without_transitions_it_is_ease_decayed():
    watched = [[0, 1, 2], [0, 2], [3, 1]]
    plain = Ease(EaseParams(half_life_days=2.0))
    plain.fit(training(*watched))
    found = scores(fitted(*watched, blend=0.0, half_life_days=2.0), sequences([0, 1], [3]))
    np.testing.assert_array_equal(found, scores(plain, sequences([0, 1], [3])))


def test_it_refuses_the_memory_that_ease_refuses(monkeypatch):
    from models.protocol import Diverged

    monkeypatch.setattr("models.closed_form.available_bytes", lambda: 10)
    with pytest.raises(Diverged, match="of memory for the square of 2 videos"):
        fitted([0, 1])
