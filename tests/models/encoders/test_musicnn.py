"""References: the original TensorFlow 1 graph (MSD_musicnn/.meta) with its checkpoint, run on `log_mel`'s patches."""

import os
from pathlib import Path

import numpy as np
import pytest

from models.encoders import musicnn
from models.encoders.musicnn import TAGS, open_sound_encoder, patches_of
from tests.tasks.sound import sound_of

CLIPS = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips"
TELLING = [119, 130, 137, 145, 148, 149]

pytestmark = pytest.mark.skipif(not musicnn.available(), reason="nightreel[media] is not installed")


@pytest.fixture(scope="module")
def encoder():
    return open_sound_encoder()


def beeps(seconds):
    times = np.arange(int(seconds * 16_000)) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * (100 * times + 500 * times**2))
    return (tone * (np.sin(4 * np.pi * times) > 0)).astype(np.float32)


def test_vectors_and_tags_are_those_of_the_original(encoder):
    vectors, scores = encoder.listen([beeps(7)])
    assert vectors.shape == (1, 200) == (1, encoder.dim)
    assert vectors.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(
        vectors[0, TELLING], [3.255989, 2.321899, 2.627811, 3.287436, 2.085748, 2.401627], atol=1e-4
    )
    np.testing.assert_allclose(
        vectors[0, :5], [-0.17717558, -0.0170261, -0.28482637, -0.275121, -0.25141057], atol=1e-4
    )
    best = np.argsort(-scores[0])[:3]
    assert [TAGS[at] for at in best] == ["electronic", "electro", "experimental"]
    np.testing.assert_allclose(scores[0, best[:2]], [0.470392, 0.19542], atol=1e-4)


def test_silence_is_a_sound(encoder):
    [silent] = encoder.encode([np.zeros(48_000, np.float32)])
    np.testing.assert_allclose(
        silent[TELLING], [-0.11929, -0.391916, -0.601616, 0.016128, -0.179657, -0.315962], atol=1e-4
    )


def test_a_short_sound_is_repeated_to_three_seconds(encoder):
    [second] = encoder.encode([beeps(1)])
    np.testing.assert_allclose(second[TELLING], [3.105841, 2.694618, 2.664816, 3.088079, 3.391204, 3.337659], atol=1e-4)
    np.testing.assert_array_equal(second, encoder.encode([np.tile(beeps(1), 3)])[0])
    assert np.isfinite(encoder.encode([np.ones(1, np.float32)])).all()


def test_a_vector_does_not_depend_on_its_batch(encoder):
    sounds = [beeps(7), np.zeros(16_000, np.float32), beeps(31)]
    together = encoder.encode(sounds)
    np.testing.assert_array_equal(together[::-1], encoder.encode(sounds[::-1]))
    for sound, vector in zip(sounds, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([sound])[0], vector)
    assert encoder.encode([]).shape == (0, 200)


def test_patches_are_of_three_seconds_without_the_rest():
    assert patches_of(beeps(3)).shape == (1, 187, 96)
    assert patches_of(beeps(7)).shape == (2, 187, 96)
    assert patches_of(beeps(0.1)).shape == (1, 187, 96)


@pytest.mark.skipif(not (CLIPS / "friday.mp4").is_file(), reason=f"{CLIPS} is absent (NIGHTREEL_DATA)")
def test_a_real_clip_sounds_as_to_the_original(encoder):
    vectors, scores = encoder.listen([sound_of(CLIPS / "friday.mp4")])
    np.testing.assert_allclose(vectors[0, :5], [0.08046371, -0.1270288, -0.28429756, -0.275121, -0.04063721], atol=1e-4)
    np.testing.assert_allclose(
        vectors[0, TELLING], [-0.11929, -0.355513, -0.50342, -0.472422, 0.228264, -0.315962], atol=1e-4
    )
    assert [TAGS[at] for at in np.argsort(-scores[0])[:3]] == ["rock", "Hip-Hop", "blues"]


def test_the_digest_names_weights_and_preprocessing(encoder):
    assert encoder.digest == "d9c84d79a13597169f902552a438b882199ae93d4ba1611be24f8098c27d0574"
    assert encoder.licence == "ISC"
    assert len(set(TAGS)) == 50


def test_other_weights_are_refused(tmp_path, monkeypatch):
    (tmp_path / "MSD_musicnn").mkdir()
    (tmp_path / "MSD_musicnn" / ".index").write_bytes(b"not the index")
    monkeypatch.setattr(musicnn, "_package", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"MSD_musicnn/\.index must have the SHA-256 87f3e0f3.* Received: 800d7c3e"):
        open_sound_encoder()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(musicnn, "find_spec", lambda name: None)
    assert not musicnn.available()
    with pytest.raises(ValueError, match=r"install nightreel\[media\]"):
        open_sound_encoder()
