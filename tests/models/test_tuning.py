import numpy as np
import pytest
from safetensors.numpy import load_file

from models.backend import array_of, keras
from models.network_state import RepeatableModel
from models.params import TunedParams
from models.tuning import HEAD, Examples, Material, Parts, split_by_key, tune, unit_length
from models.tuning_category import Categories

POINTS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
LABELS = (POINTS[:, 0] > 0).astype(np.int32)
EVERY = np.arange(40)
GOAL = Categories.of(LABELS, Parts(EVERY[:20], EVERY[20:30], EVERY[30:]), count=2)
PARAMS = TunedParams(epochs=3, head_epochs=4, batch_size=5, learning_rate=0.01, layers=1)


class Points(Material):
    """Points whose encoder is a matrix."""

    judged = 4

    def __init__(self):
        super().__init__(len(POINTS), 6)
        self.encoded = []
        self.drawn = []

    def _encode(self, rows):
        self.encoded += rows.tolist()
        return POINTS[rows] / np.linalg.norm(POINTS[rows], axis=1, keepdims=True)

    def body(self, *, layers):
        return Matrix()

    def inputs(self, rows, rng=None):
        self.drawn.append((rng is not None, len(rows)))
        return {"points": POINTS[rows]}


class Matrix(RepeatableModel):
    """The identity until it is tuned."""

    def __init__(self):
        super().__init__(name="matrix")
        self.matrix = keras.layers.Dense(6, use_bias=False, kernel_initializer="identity")

    def call(self, inputs, training=False):
        return unit_length(self.matrix(inputs["points"]))


def test_a_split_depends_on_the_key_alone():
    keys = [f"v{at}" for at in range(1000)]
    split = split_by_key(keys, valid=0.1, held_out=0.2)
    assert [len(part) for part in (split.train, split.valid, split.held_out)] == [717, 99, 184]
    fewer = split_by_key(keys[:500], valid=0.1, held_out=0.2)
    assert set(fewer.held_out) == {row for row in split.held_out if row < 500}


def test_an_epoch_draws_at_most_so_many_examples_each_once():
    examples = Examples({"item": EVERY}, {"labels": LABELS})
    drawn = examples.drawn(np.random.default_rng(3), most=7)
    assert len(drawn) == len(set(drawn.sides["item"])) == 7
    np.testing.assert_array_equal(drawn.told["labels"], LABELS[drawn.sides["item"]])
    again = examples.drawn(np.random.default_rng(3), most=7)
    np.testing.assert_array_equal(drawn.sides["item"], again.sides["item"])
    assert len(examples.drawn(np.random.default_rng(3), most=99)) == 40


def test_frozen_encodes_each_item_once_and_trains_the_head_alone(tmp_path):
    points = Points()
    tuned = tune(points, GOAL, params=PARAMS.model_copy(update={"mode": "frozen"}), seed=0)
    assert tuned.body is None
    assert sorted(points.encoded) == list(range(30))
    assert points.drawn == []
    assert len(tuned.facts["epochs"]) <= 4
    tuned.save_head(tmp_path)
    kept = load_file(tmp_path / HEAD)
    assert {name: array.shape for name, array in kept.items()} == {"choice/kernel": (6, 2), "choice/bias": (2,)}
    assert kept["choice/kernel"].any()


def test_other_modes_train_the_body_and_judge_all_of_what_stops_them():
    points = Points()
    tuned = tune(points, GOAL, params=PARAMS, seed=0)
    matrix = array_of(tuned.body.matrix.kernel)
    assert not np.array_equal(matrix, np.eye(6, dtype=np.float32))
    assert set(points.drawn) == {(False, 1), (True, 20), (False, 4)}
    best = min(epoch["valid_loss"] for epoch in tuned.facts["epochs"])
    told = np.log(np.exp(logits(tuned, matrix)).sum(axis=1)) - logits(tuned, matrix)[np.arange(10), LABELS[20:30]]
    assert best == pytest.approx(told.mean(), rel=1e-4)


def logits(tuned, matrix):
    """The head over the tuned vectors of the validation part, by hand."""
    vectors = POINTS[20:30] @ matrix
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kernel, bias = (array_of(weight) for weight in tuned.head.choice.weights)
    return 20 * vectors @ kernel + bias


def test_an_epoch_of_fewer_draws_sees_fewer():
    points = Points()
    tune(points, GOAL, params=PARAMS.model_copy(update={"draws": 10}), seed=0)
    assert (True, 10) in points.drawn
    assert (True, 20) not in points.drawn


def test_a_part_without_examples_is_refused():
    nothing = Categories.of(LABELS, Parts(EVERY, EVERY[:0], EVERY), count=2)
    with pytest.raises(ValueError, match=r"pairs of them\. Received: 40 and 0"):
        tune(Points(), nothing, params=PARAMS, seed=0)


def test_zeros_stay_zeros():
    made = np.asarray(unit_length(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0]], rtol=1e-6)
