import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.media.shots import colour_histogram, representatives, shot_starts, spread
from tests.tasks.media.videos import BLUE, GREEN, RED, plain


def histograms(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([colour_histogram(plain(colour)) for colour in colours])


def test_a_plain_picture_fills_one_bin() -> None:
    histogram = colour_histogram(plain((255, 0, 32)))
    assert histogram[7 * 64 + 0 * 8 + 1] == 1
    assert histogram.sum() == 1


def test_cuts_are_where_colours_change() -> None:
    shown = histograms(*[RED] * 6, *[GREEN] * 7, *[BLUE] * 5)
    assert shot_starts(shown, at_most=10).tolist() == [0, 6, 13]


def test_steady_change_is_motion_and_no_cut() -> None:
    moving = np.stack([np.roll(np.repeat([0.25], 4).tolist() + [0.0] * 60, at) for at in range(20)])
    assert shot_starts(moving.astype(np.float32), at_most=10).tolist() == [0]


def test_a_cut_stands_out_of_motion() -> None:
    moving = [np.roll([0.05] * 20 + [0.0] * 108, at) for at in range(10)]
    elsewhere = [np.roll([0.05] * 20 + [0.0] * 108, 60 + at) for at in range(10)]
    assert shot_starts(np.stack(moving + elsewhere).astype(np.float32), at_most=10).tolist() == [0, 10]


def test_of_too_many_shots_the_clearest_cuts_stay() -> None:
    half = (histograms(RED) + histograms(GREEN)) / 2
    shown = np.concatenate([histograms(*[RED] * 6), *[half] * 6, histograms(*[BLUE] * 6)])
    assert shot_starts(shown, at_most=3).tolist() == [0, 6, 12]
    assert shot_starts(shown, at_most=2).tolist() == [0, 12]
    assert shot_starts(shown, at_most=1).tolist() == [0]


def test_one_sample_is_one_shot() -> None:
    assert shot_starts(histograms(RED), at_most=5).tolist() == [0]


def test_kept_samples_lie_in_the_middle_of_their_part() -> None:
    kept, shots = spread(np.array([0, 10]), samples=20, at_most=4)
    assert (kept.tolist(), shots.tolist()) == ([2, 7, 12, 17], [0, 0, 1, 1])


def test_long_shots_get_more_and_short_ones_at_least_one() -> None:
    kept, shots = spread(np.array([0, 1, 2]), samples=12, at_most=6)
    assert (kept.tolist(), shots.tolist()) == ([0, 1, 3, 5, 8, 10], [0, 1, 2, 2, 2, 2])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 40))
def test_spread_keeps_each_sample_once_and_each_shot(lengths: list[int], more: int) -> None:
    starts, samples = np.cumsum([0, *lengths[:-1]]), sum(lengths)
    kept, shots = spread(starts, samples=samples, at_most=len(lengths) + more)
    assert len(kept) == min(samples, len(lengths) + more)
    assert (np.diff(kept) > 0).all()
    assert (np.searchsorted(starts, kept, side="right") - 1 == shots).all()
    assert set(shots.tolist()) == set(range(len(lengths)))


def test_the_representative_is_nearest_to_the_mean() -> None:
    shown = np.concatenate([histograms(RED, GREEN, GREEN, GREEN), histograms(BLUE, BLUE)])
    assert representatives(shown, np.array([0, 4])).tolist() == [1, 4]
