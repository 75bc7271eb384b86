"""Towers and their table, shown on the content candidate, whose towers are quick to make."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.content import ContentBased
from models.ease import Ease
from models.embedded import VIDEOS, Embedded, read_table
from models.params import ContentParams, EaseParams
from models.search import space_id
from models.video_content import VideoContent
from tests.models.histories import training
from tests.tasks.prepared_folder import sequences


def catalogue(n, *, text="text v1"):
    random = np.random.default_rng(0)
    vectors = {"text": random.normal(size=(9, 6)).astype(np.float32)[:n]}
    return VideoContent(vectors, {"text": text})


def fitted(n=6, **params):
    model = ContentBased(ContentParams(**params))
    model.fit(training([0, 1], [2, 3], n_videos=4, content=catalogue(n)))
    return model


def test_a_recommender_with_a_table_is_told_by_its_class():
    assert isinstance(fitted(), Embedded)
    assert not isinstance(Ease(EaseParams()), Embedded)


def test_embedding_what_is_new_and_appending_it_equals_embedding_all(tmp_path):
    model = fitted()
    new = model.embed(catalogue(9), rows=np.arange(6, 9))
    extended = model.extended(np.concatenate([model.video_vectors(), new]))
    np.testing.assert_array_equal(extended.video_vectors(), model.embed(catalogue(9)))
    assert len(model.video_vectors()) == 6
    extended.save(tmp_path / "appended")
    fitted(9).save(tmp_path / "whole")
    assert (tmp_path / "appended" / VIDEOS).read_bytes() == (tmp_path / "whole" / VIDEOS).read_bytes()


def test_a_new_table_beside_old_towers_is_one_model_and_serves_its_new_videos(tmp_path):
    model = fitted()
    model.save(tmp_path / "old")
    (tmp_path / "new").mkdir()
    for name in ("weights.safetensors", "config.json"):
        shutil.copy(tmp_path / "old" / name, tmp_path / "new")
    ContentBased.load(tmp_path / "old").extended(model.embed(catalogue(9))).save_videos(tmp_path / "new")
    loaded = ContentBased.load(tmp_path / "new")
    assert space_id(tmp_path / "new") == space_id(tmp_path / "old") == model.space
    assert (loaded.n_videos, len(loaded.video_vectors())) == (4, 9)
    np.testing.assert_array_equal(loaded.viewer_vectors(sequences([8])), loaded.video_vectors()[8:])


def test_a_table_of_other_towers_is_refused(tmp_path):
    fitted().save(tmp_path / "a")
    fitted(centre=False).save(tmp_path / "b")
    shutil.copy(tmp_path / "a" / VIDEOS, tmp_path / "b")
    with pytest.raises(ValueError, match=r"share one embedding space\. Received: towers of [0-9a-f]{12}, videos of"):
        ContentBased.load(tmp_path / "b")


def test_a_table_that_names_no_space_is_refused(tmp_path):
    model = fitted()
    model.save(tmp_path)
    save_file({"vectors": model.video_vectors()}, tmp_path / VIDEOS)
    with pytest.raises(ValueError, match="videos of none"):
        ContentBased.load(tmp_path)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((3, 6), np.float32), r"\[at least 4, 6\] float32\. Received: .*\(3, 6\)"),
        (np.ones((5, 7), np.float32), r"Received: .*\(5, 7\)"),
        (np.ones(6, np.float32), r"Received: .*\(6,\)"),
        (np.ones((5, 6)), "float64"),
        (np.full((5, 6), np.nan, np.float32), "must be finite"),
        (np.full((5, 6), np.inf, np.float32), "must be finite"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_memory_and_from_disk(vectors, message, tmp_path):
    model = fitted()
    with pytest.raises(ValueError, match=message):
        model.extended(vectors)
    model.save(tmp_path)
    save_file({"vectors": vectors}, tmp_path / VIDEOS, metadata={"space": model.space})
    with pytest.raises(ValueError, match=message):
        ContentBased.load(tmp_path)


def test_a_missing_or_torn_table_is_refused(tmp_path):
    fitted().save(tmp_path)
    (tmp_path / VIDEOS).write_bytes((tmp_path / VIDEOS).read_bytes()[:-4])
    with pytest.raises(ValueError, match="is not a table of videos"):
        ContentBased.load(tmp_path)
    (tmp_path / VIDEOS).unlink()
    with pytest.raises(ValueError, match=r"videos\.safetensors does not exist"):
        ContentBased.load(tmp_path)
    save_file({"other": np.ones(3, np.float32)}, tmp_path / VIDEOS)
    with pytest.raises(ValueError, match="is not a table of videos"):
        read_table(tmp_path / VIDEOS)


def test_vectors_of_another_encoder_are_refused():
    with pytest.raises(ValueError, match=r"text must come from .* text v1\. Received: text v2"):
        fitted().embed(catalogue(6, text="text v2"))


def test_a_modality_that_is_gone_is_refused():
    frames = VideoContent({"frames": np.ones((6, 2), np.float32)}, {"frames": "lite0"})
    with pytest.raises(ValueError, match=r"text must come from .* text v1\. Received: none"):
        fitted().embed(frames)


def test_content_without_all_of_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"vocabulary of 4 videos\. Received: 3 videos"):
        fitted().embed(catalogue(3))
