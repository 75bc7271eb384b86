import numpy as np

from models.feedback import Feedback
from tests.tasks.prepared_folder import DAY, sequences


def test_feedback_until_the_newest_event_of_a_history():
    told = {"liked": np.array([1, 0, 1, 1], np.float32)}
    given = Feedback(np.array([0, 0, 0, 1]), np.arange(4, dtype=np.int32), np.array([0, 1, 2, 0]) * DAY, told)
    kept = given.until_newest(sequences([5, 6], []))
    assert (kept.videos.tolist(), kept.told["liked"].tolist()) == ([0, 1], [1, 0])
