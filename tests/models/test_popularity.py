import numpy as np
import pytest

from models.params import PopularityParams
from models.popularity import Popularity
from tests.models.histories import saved_bytes, scores, training
from tests.tasks.prepared_folder import sequences


def fitted(half_life_days=None, **options):
    model = Popularity(PopularityParams(half_life_days=half_life_days))
    model.fit(training([0, 1, 1], [1, 2], **options))
    return model


def test_without_decay_a_video_scores_its_number_of_events():
    np.testing.assert_array_equal(fitted(n_videos=4).video_vectors(), [[1], [3], [1], [0]])


def test_with_decay_events_count_by_their_age_on_the_training_datas_last_day():
    # days: 0 -> 0, 1 -> 1, 1 -> 2 and 1 -> 0, 2 -> 1; the last day is 2
    np.testing.assert_allclose(fitted(half_life_days=1.0).video_vectors(), [[0.25], [0.5 + 1 + 0.25], [0.5]])


def test_validation_events_count_too_as_nothing_is_stopped_by_them():
    np.testing.assert_array_equal(fitted(valid=[[2], []]).video_vectors(), [[1], [3], [2]])


def test_every_viewer_known_or_not_gets_the_same_scores():
    np.testing.assert_array_equal(scores(fitted(), sequences([0], [], [2, 2, 1])), [[1, 3, 1]] * 3)


def test_what_was_saved_loads_to_the_same_bytes(tmp_path):
    first = saved_bytes(fitted(half_life_days=2.0), tmp_path / "a")
    assert saved_bytes(Popularity.load(tmp_path / "a"), tmp_path / "b") == first
    assert list(first) == ["config.json", "weights.safetensors"]


def test_weights_of_another_recommender_are_refused(tmp_path):
    fitted().save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("popularity", "ease"))
    with pytest.raises(ValueError, match=r"config of a popularity in format 1\. Received: .*'ease'"):
        Popularity.load(tmp_path)
