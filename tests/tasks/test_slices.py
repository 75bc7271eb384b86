import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sequences import Sequences
from tasks.slices import thirds, viewer_slices


def sequences(*videos):
    offsets = np.cumsum([0] + [len(row) for row in videos])
    flat = np.array([video for row in videos for video in row], np.int32)
    return Sequences(offsets, flat, np.arange(len(flat)), np.ones(len(flat), np.float32))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5], [1]),
        ([5, 1], [2, 0]),
        ([3, 1, 2], [2, 0, 1]),
        ([1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 2]),
        ([1, 1, 1, 1, 9], [1, 1, 1, 1, 2]),
        ([7, 7, 7], [1, 1, 1]),
    ],
)
def test_thirds_of_a_ranking(values, expected):
    assert thirds(np.array(values, np.float64)).tolist() == expected


@given(st.lists(st.integers(0, 20), min_size=1), st.randoms())
def test_ties_stay_together_and_order_is_kept_whatever_order_the_viewers_come_in(values, random):
    labels = dict(zip(values, thirds(np.array(values, np.float64)).tolist(), strict=True))
    ascending = [labels[value] for value in sorted(values)]
    assert ascending == sorted(ascending)
    shuffled = random.sample(values, len(values))
    assert thirds(np.array(shuffled, np.float64)).tolist() == [labels[value] for value in shuffled]


def test_viewers_are_sliced_by_activity_and_by_what_they_went_on_to_watch():
    found = viewer_slices(
        sequences([0], [0, 1], [0, 1, 2]),
        sequences([3], [0], [1, 3]),
        first_seen=np.array([0, 500, 700, 900]),
        train_events=np.array([3, 2, 1, 0]),
        now=1000,
    )
    assert found.to_dict(as_series=False) == {
        "activity": ["low", "mid", "high"],
        "video_age": ["low", "high", "mid"],  # mean ages 100, 1000, 300
        "video_popularity": ["low", "high", "mid"],  # means 0, 3, 1
    }
