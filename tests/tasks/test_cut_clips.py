import json
import shutil
from hashlib import sha256

import numpy as np
import polars as pl
import pytest

from tasks.clips import few_pictures
from tasks.cut_clips import PICTURES, cut_clips
from tasks.encoded import CATALOGUE, FACTS, Encoded
from tasks.media.limits import Limits, Undecodable
from tasks.media.sources import FolderMedia
from tasks.params import parse_params
from tests.models.test_tuned_frames import save_network
from tests.tasks.sources import CLIPS, needs_clips

# Keras 3 asks NumPy 2 for a model's weights in a deprecated way when it saves them
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
FLOWER = "flower.mp4"


def params(learners, **changes):
    learn = {"tuned_frames": {"pictures": 3}, "clips": {"views": 3}}
    return parse_params({"learners": learners, "learn": learn, **changes}, where="here")


@pytest.fixture
def encoded(tmp_path):
    """A clip that two videos share, one that is none, and a video without."""
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "broken.mp4").write_bytes(b"none")
    if CLIPS.is_dir():
        shutil.copyfile(CLIPS / FLOWER, tmp_path / "media" / FLOWER)
    rows = {"video_id": [1, 2, 3, 4], "media": [FLOWER, FLOWER, "broken.mp4", None]}
    rows |= {"media_digest": ["flower", "flower", "broken", None]}
    pl.DataFrame(rows).write_parquet(tmp_path / CATALOGUE)
    (tmp_path / FACTS).write_text(json.dumps({"modalities": {}}))
    return Encoded(tmp_path)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def media(tmp_path):
    return FolderMedia(tmp_path / "media", tmp_path / "work")


@needs_clips
def test_pictures_are_left_only_when_the_learner_is_asked_for(encoded, tmp_path):
    pytest.importorskip("av", reason="nightreel[media] is not installed")
    out = tmp_path / "clips"
    assert cut_clips(encoded, media(tmp_path), out, params=params(["tuned-frames"])) == 1
    assert files(out) == [f"{PICTURES}/flower.npy"]
    pictures = np.load(out / PICTURES / "flower.npy", allow_pickle=False)
    assert (pictures.shape, pictures.dtype) == ((3, 224, 224, 3), np.uint8)
    assert len({picture.tobytes() for picture in pictures}) == 3
    network = {"media": {"frames": save_network(tmp_path / "small.keras")}}
    assert cut_clips(encoded, media(tmp_path), out, params=params(["alignment"], encode=network)) == 1
    assert files(out) == ["flower.npz"]


@needs_clips
def test_equal_files_give_equal_pictures(tmp_path):
    pytest.importorskip("av", reason="nightreel[media] is not installed")
    digests = {sha256(few_pictures(CLIPS / FLOWER, n=4, limits=Limits()).tobytes()).hexdigest() for _ in range(2)}
    assert len(digests) == 1


def test_a_file_of_fewer_frames_gives_some_more_than_once_and_one_of_none_is_refused(monkeypatch, tmp_path):
    from tasks import clips

    class Two:
        frames = np.stack([np.zeros((224, 224, 3), np.uint8), np.ones((224, 224, 3), np.uint8)])

    monkeypatch.setattr(clips, "decode", lambda path, limits: Two)
    told = few_pictures(tmp_path / "a.mp4", n=5, limits=Limits())
    assert [int(picture.max()) for picture in told] == [0, 0, 0, 1, 1]
    monkeypatch.setattr(Two, "frames", np.zeros((0, 224, 224, 3), np.uint8))
    with pytest.raises(Undecodable, match=r"a\.mp4 has no frames"):
        few_pictures(tmp_path / "a.mp4", n=5, limits=Limits())


def test_without_media_or_an_encoder_of_frames_nothing_is_cut(encoded, tmp_path):
    out = tmp_path / "clips"
    asked = params(["tuned-frames"])
    assert cut_clips(encoded, None, out, params=asked) == 0
    off = params(["tuned-frames"], encode={"media": {"frames": None}})
    assert cut_clips(encoded, media(tmp_path), out, params=off) == 0
    assert files(out) == []
