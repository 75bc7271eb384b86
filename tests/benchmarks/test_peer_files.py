"""What is asked of a peer comes back as it was; lists of scores leave out what was seen."""

from dataclasses import fields

import numpy as np

from benchmarks.peer_files import Answer, Asked, best_unseen


def test_a_peer_reads_what_was_asked(tmp_path):
    viewers, videos = np.array([0, 0, 2]), np.array([4, 1, 3])
    asked = Asked(
        "ease", {"l2": 2.5}, 1, 2, 5, viewers, videos, np.array([False, True, False]), np.array([2]), tmp_path
    )
    asked.leave()
    read = Asked.read(tmp_path)
    for field in fields(Asked):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(asked, field.name))


def test_an_answer_comes_back(tmp_path):
    Answer(np.array([[1, -1]], np.int32), {"fit": 0.5, "ends": [0.1, 0.2]}).leave(tmp_path)
    read = Answer.read(tmp_path)
    assert read.lists.tolist() == [[1, -1]]
    assert read.told == {"fit": 0.5, "ends": [0.1, 0.2]}


def test_best_unseen_videos_come_first():
    scores = np.array([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1]], np.float32)
    seen = np.array([[False, True, False, False], [True, False, False, False]])
    assert best_unseen(scores, seen, 2).tolist() == [[3, 2], [1, 2]]
