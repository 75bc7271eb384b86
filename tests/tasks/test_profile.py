import numpy as np
import polars as pl
import pytest

from models.sequences import Sequences
from tasks.profile import viewer_profile

DAY, MINUTE = 86_400_000, 60_000
NOON = 20_000 * DAY + 12 * 60 * MINUTE  # 2024-10-04
# Two on one day within half an hour, one 30 days before; another viewer with one.
TIMES = [NOON - 30 * DAY, NOON - 20 * MINUTE, NOON, NOON]
VOCABULARY = pl.DataFrame(
    {
        "video_id": [10, 11, 12],
        "title": ["Heat", None, "Ronin"],
        "category": ["crime", "crime", None],
        "tags": [["crime", "heist"], [], ["heist"]],
    }
)


def histories(weights=(1.0, 1.0, 1.0, 1.0)):
    offsets, videos = np.array([0, 3, 4]), np.array([0, 1, 2, 0], np.int32)
    return Sequences(offsets, videos, np.array(TIMES, np.int64), np.array(weights, np.float32))


def test_a_small_viewer_by_hand():
    assert viewer_profile(0, histories(), VOCABULARY, private=False) == {
        "interests": {
            "category": [{"name": "crime", "share": 1.0}],
            # half of a half-faded event for each tag of the first video, one whole event for the tag of the last
            "tags": [
                {"name": "heist", "share": round(1.25 / 1.5, 4)},
                {"name": "crime", "share": round(0.25 / 1.5, 4)},
            ],
        },
        "activity": {
            "level": 0.5,
            "videos_a_day": 1.5,
            "videos": 3,
            "days": 2,
            "first": "2024-09-04T12:00:00Z",
            "last": "2024-10-04T12:00:00Z",
        },
        "sessions": {"sessions": 2, "median_videos": 1.5, "median_minutes": 10.0, "usual_hour_utc": 12},
        "feedback": {"mean_weight": 1.0, "everybody": 1.0},
        "newest": [
            {"video_id": 12, "title": "Ronin", "at": "2024-10-04T12:00:00Z"},
            {"video_id": 11, "title": None, "at": "2024-10-04T11:40:00Z"},
            {"video_id": 10, "title": "Heat", "at": "2024-09-04T12:00:00Z"},
        ],
    }


def test_private_leaves_out_what_was_watched_and_when():
    told = viewer_profile(0, histories(), VOCABULARY, private=True)
    assert "newest" not in told
    assert told["activity"] == {"level": 0.5, "videos_a_day": 1.5}
    assert "2024" not in str(told)
    assert "Ronin" not in str(told)


def test_stronger_positives_count_more():
    told = viewer_profile(0, histories((2.0, 1.0, 3.0, 1.0)), VOCABULARY, private=True)
    assert told["feedback"] == {"mean_weight": 2.0, "everybody": 1.75}
    assert told["interests"]["tags"][0] == {"name": "heist", "share": round(3.5 / 4, 4)}


@pytest.mark.parametrize("columns", [["video_id"], ["video_id", "category"]])
def test_a_catalogue_may_say_little(columns):
    told = viewer_profile(1, histories(), VOCABULARY.select(columns), private=False)
    assert told["interests"]["tags"] == []
    assert told["newest"] == [{"video_id": 10, "at": "2024-10-04T12:00:00Z"}]
