import numpy as np
import pytest

from models.backend import keras
from models.components import unit
from models.network_state import RepeatableModel
from models.params import TunedParams
from models.tuning import SHARPNESS, Material, Parts, tune, unit_length
from models.tuning_watch import Meeting, Watched, in_batch_loss, partners_found, within

RNG = np.random.default_rng(0)
PARAMS = TunedParams(mode="frozen", task="watch", head_learning_rate=0.06, head_epochs=20, patience=40)
# a head that is hardly trained leaves the work to the body
TOP = {"mode": "top", "head_epochs": 1, "head_learning_rate": 1e-6, "epochs": 12, "learning_rate": 0.03}


def test_a_pair_across_parts_is_in_none():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 2]])
    np.testing.assert_array_equal(within(pairs, np.array([2, 3])), [[2, 3], [3, 2]])
    goal = Watched.of(pairs, Parts(np.array([0, 1]), np.array([2, 3]), np.array([], np.int64)))
    assert (len(goal.train), len(goal.valid)) == (1, 2)


def test_shares_are_counted_on_each_side_of_the_part():
    pairs = np.array([[0, 1], [0, 2], [0, 1], [3, 1]])
    told = Watched.of(pairs, Parts(np.arange(4), np.arange(4), np.arange(4))).train
    first = dict(zip(told.sides["first"].tolist(), np.exp(told.told["first_log_share"]), strict=True))
    second = dict(zip(told.sides["second"].tolist(), np.exp(told.told["second_log_share"]), strict=True))
    assert first == pytest.approx({0: 0.75, 3: 0.25})
    assert second == pytest.approx({1: 0.75, 2: 0.25})


def test_the_loss_is_that_of_the_papers():
    queries, candidates = unit(RNG.normal(size=(2, 3, 4)).astype(np.float32))
    shares = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    logits = SHARPNESS * queries @ candidates.T - shares
    by_hand = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits))
    told = in_batch_loss(
        queries, candidates, asking=np.array([0, 1, 2]), answers=np.array([3, 4, 5]), log_shares=shares
    )
    assert float(told) == pytest.approx(by_hand, rel=1e-5)


def test_a_video_that_comes_twice_and_the_one_that_asks_are_no_negatives():
    queries, candidates = unit(RNG.normal(size=(2, 3, 4)).astype(np.float32))
    told = in_batch_loss(
        queries,
        candidates,
        asking=np.array([0, 1, 2]),
        answers=np.array([5, 5, 0]),
        log_shares=np.zeros(3, np.float32),
    )
    logits = SHARPNESS * queries @ candidates.T
    left = [[0], [1, 2], [0, 1, 2]]  # the first's own only: the second is the same video, the third asks
    by_hand = [np.log(np.exp(logits[at, kept]).sum()) - logits[at, at] for at, kept in enumerate(left)]
    assert float(told) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_the_head_begins_as_the_identity():
    vectors = unit(RNG.normal(size=(5, 4)).astype(np.float32))
    np.testing.assert_allclose(Meeting(4).turned(vectors), vectors, rtol=1e-6)


def test_partners_are_found_among_all_others_but_the_one_that_asks():
    angles = np.array([0.0, 0.1, 0.3, 1.5])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 0 finds 1 first and 1 finds 0 first; 0 finds 2 second and 2 finds 0 second
    found = partners_found(vectors, np.array([[0, 1], [1, 0], [2, 0]]))
    assert found == {"recall_at_10": 1.0, "mrr": 0.75, "videos": 4.0, "pairs": 2.0}


def test_beyond_ten_places_a_partner_is_not_found():
    angles = np.linspace(0, 1, 13)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = partners_found(vectors, np.array([[0, 12]]))
    assert (found["recall_at_10"], found["mrr"]) == (0.0, pytest.approx(1 / 12))


@pytest.mark.parametrize("vectors", [np.full((5, 3), np.nan), np.zeros((5, 3)), np.tile([1.0, 0, 0], (5, 1))])
def test_vectors_that_say_nothing_find_nobody_first(vectors):
    found = partners_found(vectors.astype(np.float32), np.array([[0, 1]]))
    assert found["mrr"] == 0.25


def test_without_pairs_there_are_no_figures():
    assert partners_found(np.eye(3, dtype=np.float32), np.zeros((0, 2), np.int64)) == {"videos": 3.0, "pairs": 0.0}


class Turned(Material):
    """Partners lie close in a plane that the encoder knows, among noise that is as loud."""

    judged = 80

    def __init__(self, n):
        super().__init__(n, 8)
        angles = np.repeat(RNG.uniform(0, 2 * np.pi, n // 2), 2) + RNG.normal(scale=0.05, size=n)
        plane = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.made = unit(np.concatenate([plane, RNG.normal(scale=0.5, size=(n, 6))], axis=1).astype(np.float32))

    def _encode(self, rows):
        return self.made[rows]

    def body(self, *, layers):
        return Matrix()

    def inputs(self, rows, rng=None):
        return {"points": self.made[rows]}


class Matrix(RepeatableModel):
    """The identity until it is tuned."""

    def __init__(self):
        super().__init__(name="matrix")
        self.matrix = keras.layers.Dense(8, use_bias=False, kernel_initializer="identity")

    def call(self, inputs, training=False):
        return unit_length(self.matrix(inputs["points"]))


@pytest.fixture(scope="module")
def found():
    """The material, its held-out part, and who finds partners how well."""
    n = 400
    material, pairs, rows = Turned(n), np.arange(n).reshape(-1, 2), np.arange(n)
    parts = Parts(rows[:280], rows[280:320], rows[320:])
    goal, mine = Watched.of(pairs, parts), within(pairs, parts.held_out) - 320
    vectors = material.vectors(parts.held_out)
    frozen = tune(material, goal, params=PARAMS, seed=0)
    top = tune(material, goal, params=PARAMS.model_copy(update=TOP), seed=0)
    tuned = material.by(top.body, parts.held_out)(parts.held_out)
    told = {"pretrained": vectors, "frozen": frozen.head.turned(vectors), "tuned": tuned}
    return {name: partners_found(by, mine) for name, by in told.items()}


@pytest.mark.parametrize("name", ["frozen", "tuned"])
def test_partners_are_found_better_than_by_the_pretrained_encoder(found, name):
    before, after = found["pretrained"], found[name]
    assert before["pairs"] == after["pairs"] == 40
    assert after["mrr"] > before["mrr"] * 1.5
    assert after["recall_at_10"] > before["recall_at_10"] + 0.2
