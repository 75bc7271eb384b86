import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from models.ials import Ials
from models.params import IalsParams
from models.protocol import Diverged
from models.weights import save_weights
from tests.models.histories import scores, training
from tests.tasks.prepared_folder import sequences

WATCHED = ([0, 1], [0, 1, 2], [2, 3], [3, 4, 1], [])


def fitted(*watched, seed=0, n_videos=None, **params):
    model = Ials(IalsParams(**{"factors": 3, "iterations": 4, "l2": 0.5, **params}))
    model.fit(training(*watched, seed=seed, n_videos=n_videos))
    return model


def solved(factors, confidence, l2):
    """`(Y'Y + Y'(C_u - I)Y + l2 I)^-1 Y' C_u p_u` for each row of `confidence`, 0 for what was not watched."""
    rows = np.zeros((len(confidence), factors.shape[1]))
    for row, told in zip(rows, confidence, strict=True):
        if told.any():
            certain = np.where(told > 0, told, 1)
            left = factors.T @ (certain[:, None] * factors) + l2 * np.eye(factors.shape[1])
            row[:] = np.linalg.solve(left, factors.T @ told)
    return rows


def plain_ials(confidence, factors, l2, iterations, seed):
    """Alternating exact solutions, dense, float64, from implicit's draws: the oracle."""
    draw = np.random.default_rng(seed)
    draw.random((len(confidence), factors), dtype=np.float32)
    videos = draw.random((confidence.shape[1], factors), dtype=np.float32).astype(np.float64) * 0.01
    for _ in range(iterations):
        viewers = solved(videos, confidence, l2)
        videos = solved(viewers, confidence.T, l2)
    return videos


def confidence_of(histories, n_videos, alpha):
    table = np.zeros((histories.n_viewers, n_videos))
    table[histories.viewer_of_event(), histories.videos] = 1 + alpha * histories.weights
    return table


@pytest.mark.parametrize("alpha", [0.5, 8.0])
def test_it_is_the_alternating_normal_equations(alpha):
    model = fitted(*WATCHED, alpha=alpha, seed=7)
    table = confidence_of(sequences(*WATCHED), 5, alpha)
    expected = plain_ials(table, 3, 0.5, 4, seed=7)
    np.testing.assert_allclose(model.video_vectors(), expected, rtol=2e-3, atol=2e-4)


def test_a_viewer_is_folded_in_by_the_normal_equations():
    model = fitted(*WATCHED, alpha=2.0)
    histories = sequences([0, 4], [], [3])
    histories.weights[:] = [1, 0.5, 3]
    expected = solved(model.video_vectors().astype(np.float64), confidence_of(histories, 5, 2.0), 0.5)
    np.testing.assert_allclose(model.viewer_vectors(histories), expected, rtol=1e-4, atol=1e-6)


def test_one_video_and_factor_by_hand():
    # one viewer, one video: x = c y / (c y^2 + l2), so the score is y x = c y^2 / (c y^2 + l2), here of c = 1 + 3
    model = fitted([0], factors=1, alpha=3.0, l2=0.5, iterations=50)
    (y,) = model.video_vectors()[0].astype(np.float64)
    assert scores(model, sequences([0]))[0, 0] == pytest.approx(4 * y**2 / (4 * y**2 + 0.5), rel=1e-5)
    # where both are equal, x = y: 4 y^2 + 1/2 = 4
    assert y**2 == pytest.approx(3.5 / 4, rel=1e-3)


def test_stronger_positives_count_more():
    data = training([0, 1], [0, 2], [1], [2])
    weak, strong = Ials(IalsParams(factors=2)), Ials(IalsParams(factors=2))
    weak.fit(data)
    data.train.weights[3] = 5
    strong.fit(data)
    histories = sequences([0])
    assert scores(strong, histories)[0, 2] > scores(weak, histories)[0, 2]


def test_the_threads_change_no_bit(monkeypatch):
    watched = [np.random.default_rng(n).choice(40, 8, replace=False).tolist() for n in range(200)]
    with threadpool_limits(1):
        alone = fitted(*watched, factors=16)
        folded = alone.viewer_vectors(sequences(*watched))
    monkeypatch.setattr("models.ials.FEW", 0)
    many = fitted(*watched, factors=16)
    np.testing.assert_array_equal(many.video_vectors(), alone.video_vectors())
    np.testing.assert_array_equal(many.viewer_vectors(sequences(*watched)), folded)


def test_another_seed_gives_other_factors():
    one, other = (fitted(*WATCHED, seed=seed, iterations=1).video_vectors() for seed in (0, 1))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("weight", [1e37, np.inf])
def test_what_float32_cannot_solve_fails_the_candidate(weight):
    data = training([0, 1], [1, 0])
    data.train.weights[:] = np.float32(weight)
    with pytest.raises(Diverged, match="lower alpha or raise l2"):
        Ials(IalsParams(factors=2)).fit(data)


@pytest.mark.parametrize(
    ("videos", "received"),
    [(np.zeros((5, 2), np.float32), r"\(5, 2\) float32"), (np.zeros((5, 3)), r"\(5, 3\) float64")],
)
def test_factors_of_another_kind_than_the_config_says_are_refused(videos, received, tmp_path):
    save_weights(tmp_path, recommender="ials", arrays={"videos": videos}, config={"factors": 3})
    with pytest.raises(ValueError, match=rf"must hold \[videos, 3\] float32\. Received: {received}"):
        Ials.load(tmp_path)
