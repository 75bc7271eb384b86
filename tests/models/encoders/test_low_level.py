import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.encoders.low_level import LowLevel, low_level_features

HUE, SATURATION, VALUE = slice(0, 12), slice(12, 16), slice(16, 24)
MOMENTS_OF_VALUE, MOMENTS_OF_SATURATION = slice(24, 27), slice(27, 30)
PATTERNS, ORIENTATIONS, MAGNITUDE = slice(30, 40), slice(40, 48), slice(48, 49)
MOTION, SPECTRUM, SLOPE = slice(49, 53), slice(53, 69), slice(69, 70)
SEEDS = st.integers(0, 10_000)


def plain(colour: tuple[int, int, int], *, n: int = 1, side: int = 64) -> np.ndarray:
    return np.full((n, side, side, 3), colour, np.uint8)


def grey(values: np.ndarray) -> np.ndarray:
    """Frames `[n, height, width, 3]` of grey levels `[n, height, width]`."""
    return np.repeat(values[..., None], 3, axis=-1).astype(np.uint8)


def noise(seed: int, *, n: int = 3, low: int = 0, high: int = 256, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (n, side, side, 3)).astype(np.uint8)


def test_what_it_says_of_itself() -> None:
    encoder = LowLevel()
    assert (encoder.dim, encoder.licence, len(encoder.digest)) == (70, "Apache-2.0", 64)
    assert encoder.digest == LowLevel().digest
    assert encoder.encode([]).shape == (0, 70)
    got = encoder.encode([noise(0), noise(1, n=1)])
    assert (got.shape, got.dtype) == ((2, 70), np.float32)


@pytest.mark.parametrize(
    ("colour", "twelfth"),
    [((255, 0, 0), 0), ((255, 255, 0), 2), ((0, 255, 0), 4), ((0, 255, 255), 6), ((0, 0, 255), 8), ((255, 0, 255), 10)],
)
def test_a_pure_colour(colour: tuple[int, int, int], twelfth: int) -> None:
    got = low_level_features(plain(colour))
    assert np.flatnonzero(got[HUE]).tolist() == [twelfth]
    assert got[HUE].sum() == 1
    assert got[SATURATION].tolist() == [0, 0, 0, 1]
    assert got[VALUE].tolist() == [0] * 7 + [1]
    assert got[MOMENTS_OF_VALUE].tolist() == [1, 0, 0]
    assert got[MOMENTS_OF_SATURATION].tolist() == [1, 0, 0]


def test_a_plain_grey_picture_has_no_hue_no_texture_and_no_spectrum() -> None:
    got = low_level_features(plain((51, 51, 51)))
    assert got[HUE].tolist() == [0] * 12
    assert got[SATURATION].tolist() == [1, 0, 0, 0]
    assert got[MOMENTS_OF_VALUE] == pytest.approx([0.2, 0, 0])
    assert got[PATTERNS].tolist() == [0] * 8 + [1, 0]  # all eight neighbours at least as bright, in one run
    assert got[ORIENTATIONS].tolist() == [0] * 8
    assert got[53:].tolist() == [0] * 17


def test_moments_of_half_black_half_white() -> None:
    values = np.zeros((1, 32, 32))
    values[:, :, 16:] = 255
    got = low_level_features(grey(values))
    assert got[MOMENTS_OF_VALUE] == pytest.approx([0.5, 0.5, 0])
    assert got[VALUE].tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0.5]
    assert got[MAGNITUDE] == pytest.approx(2 / 30 * 0.5)  # two of 30 columns see half of full scale


def test_orientation_of_ramps() -> None:
    ramp = np.tile(np.arange(64) * 3, (64, 1))
    rightwards, downwards = low_level_features(grey(ramp[None])), low_level_features(grey(ramp.T[None]))
    assert rightwards[ORIENTATIONS] == pytest.approx([1, 0, 0, 0, 0, 0, 0, 0])
    assert downwards[ORIENTATIONS] == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0])
    assert rightwards[MAGNITUDE] == pytest.approx(3 / 255)
    assert downwards[SPECTRUM] == pytest.approx(rightwards[SPECTRUM])


def test_a_wave_has_its_power_at_its_frequency() -> None:
    columns = np.arange(64)
    for cycles in (6, 14, 26):
        wave = np.tile(128 + 100 * np.cos(2 * np.pi * cycles * columns / 64), (64, 1))
        spectrum = low_level_features(grey(wave[None]))[SPECTRUM]
        assert int(spectrum.argmax()) == cycles // 2  # 16 rings up to 32 cycles


def test_finer_texture_has_a_flatter_spectrum() -> None:
    fine = np.random.default_rng(0).integers(0, 256, (1, 64, 64))
    coarse = fine[:, ::8, ::8].repeat(8, axis=1).repeat(8, axis=2)
    assert low_level_features(grey(coarse))[SLOPE] < low_level_features(grey(fine))[SLOPE] - 0.1


def test_motion_of_constructed_frames() -> None:
    levels = np.zeros((3, 32, 32))
    levels[1:] = 51
    got = low_level_features(grey(levels))
    assert got[MOTION] == pytest.approx([0.1, 0.1, 0.2, 0.5])  # 0.2 of full scale, then nothing


@given(SEEDS)
def test_a_still_video_has_no_motion_and_is_as_its_one_frame(seed: int) -> None:
    frame = noise(seed, n=1)
    still = low_level_features(frame.repeat(4, axis=0))
    assert still[MOTION].tolist() == [0, 0, 0, 0]
    assert still == pytest.approx(low_level_features(frame), abs=1e-12)


@given(SEEDS, st.integers(1, 60))
def test_more_brightness_changes_levels_and_neither_texture_nor_motion_nor_spectrum(seed: int, by: int) -> None:
    frames = grey(np.random.default_rng(seed).integers(0, 190, (3, 32, 32)))
    dark, bright = low_level_features(frames), low_level_features(frames + np.uint8(by))
    assert bright[24] - dark[24] == pytest.approx(by / 255)
    assert bright[25:27] == pytest.approx(dark[25:27], abs=1e-9)
    assert bright[PATTERNS].tolist() == dark[PATTERNS].tolist()
    assert bright[40:] == pytest.approx(dark[40:], abs=1e-9)


@given(SEEDS)
def test_order_of_frames_counts_for_motion_only(seed: int) -> None:
    frames = noise(seed, n=5)
    forwards, backwards = low_level_features(frames), low_level_features(frames[::-1])
    assert backwards == pytest.approx(forwards, abs=1e-12)
    swapped = low_level_features(frames[[0, 2, 4, 1, 3]])
    assert np.delete(swapped, np.r_[MOTION]) == pytest.approx(np.delete(forwards, np.r_[MOTION]), abs=1e-12)


@given(SEEDS, st.integers(1, 4), st.sampled_from([8, 31, 224]))
def test_all_values_lie_in_their_scales(seed: int, n: int, side: int) -> None:
    got = low_level_features(noise(seed, n=n, side=side))
    assert np.abs(got).max() <= 1
    for part in (HUE, SATURATION, VALUE, PATTERNS, ORIENTATIONS):
        assert got[part].sum() == pytest.approx(1)


def test_videos_do_not_depend_on_each_other_and_come_out_equal_again() -> None:
    videos = [noise(seed, n=seed + 1) for seed in range(4)]
    together = LowLevel().encode(videos)
    assert together.tobytes() == LowLevel().encode(videos).tobytes()
    for at, video in enumerate(videos):
        assert LowLevel().encode([video])[0].tobytes() == together[at].tobytes()


@pytest.mark.parametrize(
    "frames", [np.zeros((0, 8, 8, 3), np.uint8), np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)]
)
def test_other_arrays_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"frames must be \[n, height, width, 3\] uint8. Received: "):
        LowLevel().encode([frames])
