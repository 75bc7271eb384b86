from dataclasses import replace

import numpy as np

from models.sequences import Sequences
from tests.tasks.prepared_folder import sequences


def rows(histories):
    return [histories.of(viewer).tolist() for viewer in range(histories.n_viewers)]


def test_lengths_and_viewers_of_events():
    histories = sequences([4, 5], [], [6])
    assert histories.lengths.tolist() == [2, 0, 1]
    assert histories.viewer_of_event().tolist() == [0, 0, 2]


def test_where_keeps_every_viewer_possibly_empty():
    histories = sequences([4, 5], [], [6], [7])
    kept = histories.where(np.array([False, True, False, True]))
    assert rows(kept) == [[5], [], [], [7]]
    assert kept.times.tolist() == [histories.times[1], 0]


def test_where_on_viewers_without_any_event_at_the_end():
    assert rows(sequences([4], [], []).where(np.array([True]))) == [[4], [], []]


def test_take_gives_viewers_in_the_order_asked_for_and_twice_when_asked_twice():
    assert rows(sequences([4, 5], [], [6]).take(np.array([2, 0, 1, 2]))) == [[6], [4, 5], [], [6]]


def test_merged_orders_by_time_and_puts_its_own_first_where_times_tie():
    weights = np.ones(2, np.float32)
    first = Sequences(np.array([0, 2, 2]), np.array([1, 2], np.int32), np.array([10, 30]), weights)
    later = Sequences(np.array([0, 1, 2]), np.array([3, 4], np.int32), np.array([10, 5]), weights * 2)
    both = first.merged(later)
    assert rows(both) == [[1, 3, 2], [4]]
    assert both.times.tolist() == [10, 10, 30, 5]
    assert both.weights.tolist() == [1, 2, 1, 2]


def test_what_was_saved_is_mapped_not_read(tmp_path):
    sequences([4, 5], [], [6]).save(tmp_path)
    loaded = Sequences.load(tmp_path)
    assert rows(loaded) == [[4, 5], [], [6]]
    assert isinstance(loaded.videos, np.memmap)


def test_contexts_go_with_their_events(tmp_path):
    told = {"region": np.array([4, 5, -1, 7], np.int32)}
    histories = replace(sequences([0, 1], [2, 3]), contexts=told)
    assert histories.where(np.array([True, False, True, True])).contexts["region"].tolist() == [4, -1, 7]
    assert histories.take(np.array([1, 0])).contexts["region"].tolist() == [-1, 7, 4, 5]
    assert histories.merged(histories).contexts["region"].tolist() == [4, 4, 5, 5, -1, -1, 7, 7]
    histories.save(tmp_path)
    assert Sequences.load(tmp_path).contexts["region"].tolist() == [4, 5, -1, 7]
    assert list(Sequences.load(tmp_path).contexts) == ["region"]
