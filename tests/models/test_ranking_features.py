from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from models.feedback import VideoFacts
from models.places import Places
from models.ranking_features import RankingFeatures
from models.two_stage import Pool
from models.video_content import VideoContent
from tests.tasks.prepared_folder import DAY, sequences

HISTORY = sequences([0, 1], [1])
TOPICS = sp.csr_array(np.array([[1, 0], [0.5, 0.5], [0, 1]], np.float32))
FACTS = VideoFacts(np.array([-1, -1, 5 * DAY]), np.array([np.nan, 9, 99], np.float32), TOPICS)
POOL = Pool(
    np.array([0, 1]), np.array([2, 0], np.int32), {"knn": np.array([1, 0], np.float32)}, {"knn": np.array([0, 3])}, 3
)


def features(content=None, facts=FACTS):
    return RankingFeatures.learnt(HISTORY, facts, content, now=7 * DAY, half_life_days=1e9)


def of(known):
    return {name: values.tolist() for name, values in known.of(sequences([0, 1], []), POOL).items()}


def test_a_pair_is_told_by_retrievers_viewer_video_and_both():
    told = of(features())
    assert told["knn_score"] == [1, 0]
    assert told["knn_place"] == [1, 0.25]
    assert told["viewer_known"] == [1, 0]
    assert told["viewer_seconds"] == [pytest.approx(np.log(10) / 2), 0]
    assert told["viewer_mainstream"] == [pytest.approx((np.log(2) + np.log(3)) / 2), 0]
    assert told["video_watched"] == [0, pytest.approx(np.log(2))]
    assert told["video_seconds"] == [pytest.approx(np.log(100)), 0]
    assert told["both_topics"] == [pytest.approx(0.25), 0]


def test_age_counts_from_the_upload_or_the_first_event_learnt_from():
    told = of(features())
    assert told["video_age"] == [pytest.approx(np.log1p(2)), pytest.approx(np.log1p(7))]
    nothing_known = of(features(facts=VideoFacts.unknown(3)))
    assert nothing_known["video_age_known"] == [0, 1]  # nobody had watched video 2: when it first was is not known yet
    assert nothing_known["both_topics"] == [0, 0]


def test_content_is_the_cosine_to_what_was_watched():
    table = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    table[0] = np.nan
    told = of(features(VideoContent({"text": table}, {"text": "digest"})))
    watched, asked = (row - table[1:].mean(axis=0) for row in table[1:])
    cosine = watched @ asked / np.linalg.norm(watched) / np.linalg.norm(asked)
    assert told["both_text"] == [pytest.approx(cosine / 2), 0]  # half of the history has no text


def test_what_was_saved_tells_the_same():
    known = features(VideoContent({"text": np.eye(3, dtype=np.float32)}, {"text": "digest"}))
    again = RankingFeatures.of_arrays(known.arrays(), now=known.now, half_life_days=1e9, contexts=())
    assert of(again) == of(known)


def test_region_and_device_are_those_of_the_newest_event():
    codes = {"region": np.array([3, 16 + 5], np.int32), "device": np.array([-1, -1], np.int32)}
    places = Places.of(np.array([21], np.int32), np.arange(48, dtype=np.float32).reshape(24, 2))
    known = RankingFeatures.learnt(
        replace(HISTORY, contexts={"region": np.array([3, 3, 3], np.int32), "device": np.array([-1] * 3, np.int32)}),
        FACTS,
        None,
        now=7 * DAY,
        half_life_days=1e9,
        places=places,
    )
    assert known.contexts == ("device", "region")
    told = known.of(replace(sequences([0, 1], []), contexts=codes), POOL)
    assert [name for name, values in told.items() if "_region_" in name and values[0]] == ["viewer_region_5"]
    assert not any(values.any() for name, values in told.items() if "_device_" in name)
    assert [told["viewer_place_0"].tolist(), told["viewer_place_1"].tolist()] == [[0, 0], [1, 0]]  # midnight
    unknown = known.of(sequences([0, 1], []), POOL)  # a history that tells no region
    assert not unknown["viewer_region_5"].any()
    again = RankingFeatures.of_arrays(known.arrays(), now=0, half_life_days=1e9, contexts=known.contexts)
    np.testing.assert_array_equal(again.places.vectors, places.vectors)
