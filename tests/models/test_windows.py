import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.windows import newest_window, pads_last, training_windows, whole_windows
from tests.tasks.prepared_folder import sequences

START, PAD = 9, 10


def test_every_event_is_predicted_once_and_the_newest_at_the_last_position():
    inputs, targets = training_windows(sequences([1, 2, 3, 4, 5], [], [6]), length=3, n_videos=9)
    assert inputs.tolist() == [[2, 3, 4], [PAD, START, 1], [PAD, PAD, START]]
    assert targets.tolist() == [[3, 4, 5], [-1, 1, 2], [-1, -1, 6]]


def test_a_window_shows_the_newest_events_and_the_start_where_it_has_room():
    tokens = newest_window(sequences([1, 2, 3, 4], [5, 6, 7], [8], []), length=3, n_videos=9)
    assert tokens.tolist() == [[2, 3, 4], [5, 6, 7], [PAD, START, 8], [PAD, PAD, START]]


@given(st.lists(st.lists(st.integers(0, 8), max_size=20), min_size=1, max_size=6), st.integers(1, 6))
def test_windows_together_hold_each_history_once(watched, length):
    inputs, targets = training_windows(sequences(*watched), length=length, n_videos=9)
    assert sorted(targets[targets >= 0].tolist()) == sorted(video for row in watched for video in row)
    np.testing.assert_array_equal(inputs == PAD, targets == -1)
    assert len(inputs) == sum(-(-len(row) // length) for row in watched)
    # within a window the target is the next input
    both = (inputs[:, 1:] != PAD) & (inputs[:, :-1] != PAD)
    np.testing.assert_array_equal(targets[:, :-1][both], inputs[:, 1:][both])


def test_a_whole_window_holds_its_events_and_the_start_where_it_has_room():
    tokens = whole_windows(sequences([1, 2, 3, 4, 5], [], [6], [7, 8, 4]), length=3, n_videos=9)
    assert tokens.tolist() == [[3, 4, 5], [START, 1, 2], [PAD, START, 6], [7, 8, 4]]


@given(st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=20), min_size=1, max_size=6), st.integers(2, 6))
def test_what_is_asked_stands_where_it_stood_in_a_whole_window(watched, length):
    whole = whole_windows(sequences(*watched), length=length, n_videos=9)
    asked = newest_window(sequences(*[row[:-1] for row in watched]), length=length - 1, n_videos=9)
    newest = np.cumsum([0, *(-(-len(row) // length) for row in watched[:-1])])
    np.testing.assert_array_equal(whole[newest, :-1], asked)
    assert whole[newest, -1].tolist() == [row[-1] for row in watched]


def test_padding_can_come_last():
    rows = np.array([[PAD, START, 1], [PAD, PAD, START], [2, 3, 4]], np.int32)
    assert pads_last(rows, pad=PAD).tolist() == [[START, 1, PAD], [START, PAD, PAD], [2, 3, 4]]
