import numpy as np
import pytest

from tasks.video_drift import chance_shift, mean_shift, video_drift


def vectors(draw, n, towards=0.0, dim=16):
    made = draw.standard_normal((n, dim)) + 1.0
    made[:, 0] += towards
    return made.astype(np.float32)


def test_the_shift_is_one_less_the_cosine_of_mean_directions():
    old, new = np.array([[2.0, 0.0], [1.0, 0.0]], np.float32), np.array([[0.0, 3.0]], np.float32)
    assert mean_shift(old, old) == pytest.approx(0)
    assert mean_shift(old, new) == pytest.approx(1)
    assert mean_shift(old, -old) == pytest.approx(2)


def test_new_videos_of_the_same_kind_seldom_exceed_chance_and_others_do():
    draw = np.random.default_rng(3)
    same = [
        mean_shift(old, new) > chance_shift(old, new, significance=0.05, seed=seed)
        for seed in range(100)
        for old, new in [(vectors(draw, 80), vectors(draw, 15))]
    ]
    assert sum(same) <= 12
    old, new = vectors(draw, 80), vectors(draw, 15, towards=4.0)
    assert mean_shift(old, new) > 2 * chance_shift(old, new, significance=0.01, seed=0)


def test_a_modality_is_compared_where_both_sides_have_it():
    draw = np.random.default_rng(3)
    text, sound = vectors(draw, 30), vectors(draw, 30)
    sound[20:] = np.nan
    is_new = np.arange(30) >= 20
    found = video_drift({"text": text, "sound": sound}, ~is_new, is_new, significance=0.01, seed=0)
    assert [each.what for each in found] == ["text"]
    assert found[0].observed == pytest.approx(mean_shift(text[:20], text[20:]))
