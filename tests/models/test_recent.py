import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recent import CONTEXT, Recent, shuffled_ties
from models.sequences import Sequences
from tests.tasks.prepared_folder import DAY, sequences


def timed(*viewers):
    """One list of times (in days) a viewer; an event's video is its position."""
    times = np.array([day * DAY for row in viewers for day in row], np.int64)
    offsets = np.cumsum([0, *map(len, viewers)])
    return Sequences(offsets, np.arange(len(times), dtype=np.int32), times, np.ones(len(times), np.float32))


def test_before_serving_the_newest_events_come_first():
    recent = Recent.of_all(timed([1, 2, 3], [], [5]), length=2)
    assert recent.events.tolist() == [[2, 1], [-1, -1], [3, -1]]
    assert recent.counts.tolist() == [3, 0, 1]


def test_before_an_event_are_those_older_than_it():
    recent = Recent.before(timed([1, 2, 3, 4], [5, 6]), np.array([3, 0, 5]), length=2)
    assert recent.events.tolist() == [[2, 1], [-1, -1], [4, -1]]
    assert recent.counts.tolist() == [3, 0, 1]


def test_before_an_event_are_those_of_its_own_time_too_but_not_itself():
    recent = Recent.before(timed([0], [1, 2, 2, 2, 3]), np.array([2, 3, 4]), length=4)
    assert recent.events.tolist() == [[4, 3, 1, -1], [2, 4, 1, -1], [3, 2, 1, -1]]


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=4), st.integers(1, 7))
def test_before_holds_whatever_ties_there_are(viewers, length):
    histories = timed(*map(sorted, viewers))
    targets = np.arange(len(histories.videos))
    recent = Recent.before(histories, targets, length=length)
    owner = histories.viewer_of_event()
    for target in targets:
        eligible = [
            other
            for other in targets
            if owner[other] == owner[target] and histories.times[other] <= histories.times[target] and other != target
        ]
        found = [event for event in recent.events[target] if event >= 0]
        assert recent.counts[target] == len(eligible)
        assert len(set(found)) == len(found) == min(length, len(eligible))
        assert set(found) <= set(eligible)
        newest = sorted((histories.times[event] for event in eligible), reverse=True)[: len(found)]
        assert [histories.times[event] for event in found] == newest


def test_ages_count_from_the_newest():
    histories = timed([1, 4], [2])
    assert Recent.of_all(histories, length=3).ages(histories.times).tolist() == [[0, 3 * DAY, 0], [0, 0, 0]]


def test_the_context_tells_amount_gap_span_and_hours():
    histories = timed([0, 2, 3.25], [7], [])
    found = Recent.of_all(histories, length=2).context(histories.times)
    logs = np.log1p([3, 1.25, 3.25]) / 8
    week = 2 * np.pi * 3.25 / 7
    np.testing.assert_allclose(found[0], [1, *logs, 1, 0, np.sin(week), np.cos(week)], atol=1e-6)
    np.testing.assert_allclose(found[1], [1, np.log(2) / 8, 0, 0, 0, 1, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(found[2], np.zeros(CONTEXT))


@pytest.mark.parametrize("viewers", [[], [[]], [[], [1], []]])
def test_viewers_without_events_are_no_error(viewers):
    histories = timed(*viewers)
    recent = Recent.of_all(histories, length=2)
    assert recent.context(histories.times).shape == (len(viewers), CONTEXT)
    assert recent.ages(histories.times).shape == (len(viewers), 2)


def test_shuffling_moves_ties_alone():
    histories = timed([1, 1, 1, 1, 2], [0, 3])
    shuffled = [shuffled_ties(histories, seed=[seed]) for seed in range(5)]
    assert len({tuple(one.videos) for one in shuffled}) > 1
    for one in shuffled:
        np.testing.assert_array_equal(one.times, histories.times)
        assert sorted(one.videos[:4]) == [0, 1, 2, 3]
        assert one.videos[4:].tolist() == [4, 5, 6]
    np.testing.assert_array_equal(shuffled_ties(sequences([3, 1]), seed=[0]).videos, [3, 1])
