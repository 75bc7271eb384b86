import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from models.alignment import Alignment, Views, draw_segments, nt_xent, retrieval
from models.components import unit
from models.params import AlignmentParams

TINY = {"dim": 6, "hidden": 8, "length": 2, "epochs": 3, "cuts": 4, "learning_rate": 0.01, "dropout": 0.1}
DIM, BANDS = 12, 5


def clip(seed, *, n=60, sound=False):
    """What is seen wanders in half of the features; a crop changes the other half, more strongly, at random."""
    rng = np.random.default_rng(seed)
    seen = np.repeat(rng.normal(size=(n // 4, DIM // 2)), 4, axis=0)
    crops = 3 * rng.normal(size=(3, 1, DIM // 2)) + 2 * rng.normal(size=(3, n, DIM // 2))
    frames = np.concatenate([np.broadcast_to(seen, (3, *seen.shape)), crops], axis=-1).astype(np.float32)
    return Views(frames, np.tile(seen[:, :1], BANDS).astype(np.float32) if sound else None)


TRAIN, VALID, HELD_OUT = [clip(0), clip(1, sound=True), clip(5)], [clip(2)], [clip(3)]


def fitted(**params):
    model = Alignment(AlignmentParams(**(TINY | params)))
    return model, model.fit(TRAIN, VALID, seed=0)


@pytest.mark.slow
def test_it_learns_to_find_the_other_crop():
    model, _ = fitted(dim=11, epochs=40, patience=40, sound_weight=0.0, noise=0.0)
    (clip,) = HELD_OUT
    first, other = (clip.frames[view].reshape(15, 4, DIM)[:, :2] for view in (0, 1))
    learned = retrieval(model.embed(first), model.embed(other))
    plain = retrieval(unit(first).mean(axis=1), unit(other).mean(axis=1))
    assert learned.mrr > plain.mrr + 0.1
    assert learned.queries == 30


def test_before_training_a_vector_is_the_mean_of_the_components():
    model = Alignment(AlignmentParams(**TINY))
    model.start_from(TRAIN, seed=0)
    frames = HELD_OUT[0].frames[0, :4].reshape(2, 2, DIM)
    np.testing.assert_allclose(model.embed(frames), unit(model.components.points(frames).mean(axis=1)), atol=1e-5)


def loss_by_hand(first, second, temperature):
    views = np.concatenate([first, second])
    n = len(first)
    scores = np.exp(views @ views.T / temperature)
    np.fill_diagonal(scores, 0)
    own = [scores[at, (at + n) % (2 * n)] for at in range(2 * n)]
    return float(np.mean(-np.log(own / scores.sum(axis=1))))


def test_the_loss_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    first, second = (unit(rng.normal(size=(4, 3)).astype(np.float32)) for _ in range(2))
    found = float(nt_xent(first, second, np.ones(4, np.float32), 0.5))
    assert found == pytest.approx(loss_by_hand(first, second, 0.5), abs=1e-5)
    counted = float(nt_xent(first, second, np.array([1, 1, 0, 0], np.float32), 0.5))
    assert counted == pytest.approx(loss_by_hand(first[:2], second[:2], 0.5), abs=1e-5)
    assert float(nt_xent(first, second, np.zeros(4, np.float32), 0.5)) == 0


def numbered(n):
    return Views(np.stack([np.arange(n)[:, None], np.arange(n)[:, None] + 1000]).astype(np.float32), None)


@pytest.mark.parametrize("seed", range(20))
def test_segments_do_not_overlap_and_both_views_are_of_the_same_one(seed):
    rng = np.random.default_rng(seed)
    drawn = draw_segments([numbered(17), numbered(3)], length=2, bands=1, rng=rng)
    assert drawn.first.shape == (3, 2, 1)
    first, second = (view[..., 0].astype(int) % 1000 for view in (drawn.first, drawn.second))
    crops = drawn.first[:, 0, 0] >= 1000, drawn.second[:, 0, 0] >= 1000
    assert (crops[0] != crops[1]).all()
    spans = [set(a) | set(b) for a, b in zip(first, second, strict=True)]
    assert all(max(span) - min(span) < 4 for span in spans)
    assert sum(map(len, spans)) == len(set().union(*spans))


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"A clip must have 4 frames or more\. Received: \[3\]"):
        draw_segments([numbered(3)], length=2, bands=1, rng=np.random.default_rng(0))


def test_retrieval_counts_ranks_both_ways_and_ties_against_itself():
    turned = np.eye(3, dtype=np.float32)
    perfect = retrieval(turned, turned)
    assert (perfect.recall_at_1, perfect.mrr, perfect.queries) == (1.0, 1.0, 6)
    swapped = retrieval(turned[:2], turned[[1, 0]])
    assert (swapped.recall_at_1, swapped.mrr) == (0.0, 0.5)
    same = np.ones((4, 2), np.float32)
    assert (retrieval(same, same).recall_at_1, retrieval(same, same).mrr) == (0.0, 0.25)


def test_saved_and_loaded_it_says_the_same(tmp_path):
    model, _ = fitted()
    model.save(tmp_path)
    loaded = Alignment.load(tmp_path)
    frames = [HELD_OUT[0].frames[0]]
    np.testing.assert_array_equal(loaded.encode(frames), model.encode(frames))
    np.testing.assert_array_equal(*(each.embed_sound(TRAIN[1].sound[None]) for each in (loaded, model)))
    assert loaded.digest == model.digest


def test_a_videos_vector_does_not_depend_on_others_and_has_length_one():
    model, _ = fitted()
    long, short = HELD_OUT[0].frames[0], HELD_OUT[0].frames[0, :1]
    both = model.encode([long, short])
    assert model.encode([short])[0].tobytes() == both[1].tobytes()
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)
    with pytest.raises(ValueError, match="A video must have a frame"):
        model.encode([long[:0]])


PROGRAM = """
import sys
from pathlib import Path
from tests.models.test_alignment import fitted
fitted()[0].save(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_two_processes_train_to_the_same_bytes_and_say_nothing(tmp_path):
    digests = []
    for name in ("one", "two"):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / name)]
        ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
        digests.append(sha256((tmp_path / name / "weights.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
