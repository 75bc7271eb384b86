import numpy as np
import pytest

from models.backend import keras
from models.params import SasRecParams
from models.sequence_network import gbce, positive_power, sampled_softmax
from models.transformer import Transformer

POSITIVE = np.array([0.3, -2.0], np.float32)
NEGATIVE = np.array([[1.0, -1.5, 0.2], [4.0, 0.0, -3.0]], np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize(("t", "power"), [(0.0, 1.0), (0.75, 0.75 * 0.1 + 0.25), (1.0, 0.1)])
def test_gbce_is_its_formula(t, power):
    b = positive_power(3, n_videos=31, calibration=t)
    assert b == pytest.approx(power)
    expected = -(b * np.log(sigmoid(POSITIVE)) + np.log(1 - sigmoid(NEGATIVE)).sum(axis=1)) / 4
    np.testing.assert_allclose(np.asarray(gbce(POSITIVE, NEGATIVE, power=b)), expected, rtol=1e-5)


def test_gbce_at_calibration_0_is_binary_cross_entropy():
    wanted = np.repeat([[1.0, 0.0, 0.0, 0.0]], 2, axis=0)
    scores = np.concatenate([POSITIVE[:, None], NEGATIVE], axis=1)
    plain = keras.losses.binary_crossentropy(wanted, scores, from_logits=True)
    power = positive_power(3, n_videos=31, calibration=0.0)
    np.testing.assert_allclose(np.asarray(gbce(POSITIVE, NEGATIVE, power=power)), np.asarray(plain), rtol=1e-5)


def test_more_negatives_than_videos_sample_all_of_them():
    assert positive_power(500, n_videos=31, calibration=0.75) == 1
    assert positive_power(1, n_videos=1, calibration=0.75) == 1


def test_the_sampled_softmax_over_all_the_others_is_the_full_one():
    scores = np.concatenate([POSITIVE[:, None], NEGATIVE], axis=1).astype(np.float64)
    full = np.log(np.exp(scores).sum(axis=1)) - POSITIVE
    np.testing.assert_allclose(np.asarray(sampled_softmax(POSITIVE, NEGATIVE, stands_for=1.0)), full, rtol=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "gbce"])
def test_a_drawn_target_is_no_negative(loss):
    params = SasRecParams(dim=4, heads=1, blocks=1, max_length=2, negatives=64, loss=loss)
    network = Transformer(params, 1, name="one", causal=True)
    network(np.zeros((1, 2), np.int32))
    hidden, targets = np.ones((1, 2, 4), np.float32), np.zeros((1, 2), np.int32)
    score = float(np.asarray(network.embedding.embeddings)[0].sum())
    alone = 0.0 if loss == "softmax" else np.log1p(np.exp(-score)) / 65
    assert float(network.compute_loss(y=targets, y_pred=hidden)) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(("loss", "draws"), [("softmax", 1), ("gbce", 6)])
def test_gbce_draws_for_each_position_and_the_softmax_for_the_batch(loss, draws):
    params = SasRecParams(dim=4, heads=1, blocks=1, max_length=3, negatives=8, loss=loss)
    network = Transformer(params, 1000, name="many", causal=True)
    network(np.zeros((1, 3), np.int32))
    videos = np.asarray(network.embedding.embeddings)[:1000]
    hidden, targets = np.ones((2, 3, 4), np.float32), np.zeros((2, 3), np.int32)
    positive, negative = (np.asarray(of) for of in network._against_drawn(hidden, targets, videos))
    np.testing.assert_allclose(positive, np.full((2, 3), videos[0].sum()), rtol=1e-5)
    assert len(np.unique(negative.reshape(6, 8), axis=0)) == draws
    assert np.isclose(negative[..., None], videos.sum(axis=1), atol=1e-6).any(axis=-1).all()


def test_the_loss_is_the_mean_over_the_targets_there_are():
    params = SasRecParams(dim=4, heads=1, blocks=1, max_length=3)
    network = Transformer(params, 5, name="five", causal=True)
    network(np.zeros((1, 3), np.int32))
    hidden = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    logits = hidden @ np.asarray(network.embedding.embeddings)[:5].T
    chances = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = -np.mean([chances[0, 2, 3], chances[1, 1, 0], chances[1, 2, 4]])
    targets = np.array([[-1, -1, 3], [-1, 0, 4]], np.int32)
    assert float(network.compute_loss(y=targets, y_pred=hidden)) == pytest.approx(expected, rel=1e-5)
