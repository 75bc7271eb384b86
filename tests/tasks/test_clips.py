import os
from pathlib import Path

import numpy as np
import pytest

from infra.errors import BadInput
from tasks.clips import Clip, crop, load_clips, make_clip, sound_of_frames, split_in_time
from tasks.media.limits import Limits


def clip(n=20, *, fps=4.0, sound=True):
    features = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    bands = np.zeros((n, 2), np.float32) if sound else None
    return Clip(features, np.arange(n) / fps, np.stack([features, features + 1]), bands)


@pytest.mark.parametrize("sound", [True, False])
def test_a_clip_comes_back_and_equal_clips_give_equal_bytes(tmp_path, sound):
    for name in ("a", "b"):
        clip(sound=sound).save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = load_clips(tmp_path)
    assert list(loaded) == ["a", "b"]
    for name in ("features", "times", "views"):
        np.testing.assert_array_equal(getattr(loaded["a"], name), getattr(clip(), name))
    assert (loaded["a"].sound is not None) == sound


def test_features_and_times_alone_are_a_clip_without_views(tmp_path):
    np.savez(tmp_path / "a.npz", features=np.zeros((2, 3), np.float32), times=np.arange(2.0))
    assert Clip.load(tmp_path / "a.npz").views.shape == (0, 2, 3)


def test_a_file_that_is_no_clip_or_holds_a_pickle_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadInput, match=r"a\.npz must hold features and times as arrays"):
        Clip.load(path)
    np.savez(path, features=np.array([{"a": 1}], dtype=object), times=np.zeros(1))
    with pytest.raises(BadInput, match=r"a\.npz must hold features and times as arrays"):
        Clip.load(path)
    np.savez(path, features=np.zeros((2, 3), np.float32))
    with pytest.raises(BadInput, match=r"a\.npz must hold features and times as arrays"):
        Clip.load(path)


def test_arrays_of_different_frames_are_refused():
    with pytest.raises(ValueError, match="must be of 3 frames"):
        Clip(np.zeros((2, 4), np.float32), np.zeros(3), np.zeros((0, 2, 4), np.float32))


def test_a_clip_is_cut_in_time_with_gaps():
    parts = split_in_time(clip(20), held_out=0.3, valid=0.2, gap=0.5)
    spans = [(part.times[0] * 4, part.times[-1] * 4, len(part.times)) for part in vars(parts).values()]
    assert spans == [(0, 5, 6), (8, 11, 4), (14, 19, 6)]
    assert parts.held_out.views.shape == (2, 6, 3)


def test_a_clip_of_one_frame_has_parts_too():
    parts = split_in_time(clip(1), held_out=0.3, valid=0.2, gap=0.5)
    assert sum(len(part.times) for part in vars(parts).values()) <= 1


def test_a_crop_is_of_the_frame_and_odd_ones_are_mirrored():
    rows, columns = np.mgrid[:40, :60].astype(np.uint8)
    frames = np.stack([rows, columns, rows], axis=-1)[None]
    even, odd = (crop(frames, view=view, seed=0)[0] for view in (0, 1))
    assert even.shape == odd.shape == (40, 60, 3)
    for cropped in (even, odd):
        heights = cropped[:, 0, 0].astype(int)
        assert (np.diff(heights) >= 0).all()
        assert 20 <= heights[-1] - heights[0] + 1 < 40
    assert (np.diff(even[0, :, 1].astype(int)) >= 0).all()
    assert (np.diff(odd[0, :, 1].astype(int)) <= 0).all()
    assert crop(frames, view=0, seed=0).tobytes() == even.tobytes()


def test_each_frame_has_its_own_sound_and_silence_after_the_end():
    time = np.arange(16_000) / 16_000
    sound = np.concatenate([np.zeros(16_000), np.sin(2 * np.pi * 440 * time)]).astype(np.float32)
    bands = sound_of_frames(sound, np.arange(4.0))
    assert bands.shape == (4, 96)
    assert bands[0].max() < 0.1 < bands[1].max()
    assert not bands[3].any()


def flat(frames):
    """An encoder that is quick: the mean colour."""
    return frames.reshape(len(frames), -1, 3).mean(axis=1).astype(np.float32)


def test_a_real_video_becomes_a_clip():
    path = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips/flower.mp4"
    if not path.exists():
        pytest.skip(f"{path} is absent: set NIGHTREEL_DATA")
    pytest.importorskip("av", reason="nightreel[media] is not installed")
    made = make_clip(path, encode=flat, fps=4.0, views=2, seed=0, limits=Limits())
    assert made.features.shape == (21, 3)
    assert made.views.shape == (2, 21, 3)
    assert made.sound is not None
    assert made.sound.shape == (21, 96)
    np.testing.assert_allclose(np.diff(made.times), 0.25)
