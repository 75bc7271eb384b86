import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.encoders.bert_folder import open_bert_folder
from models.encoders.text import load_backbone, open_text_encoder

pytest.importorskip("keras_hub", reason="nightreel[text] is not installed")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "night", "reel", "##s", "alien"]
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": len(WORDS),
}
LAYER = {
    "attention.self.query": (8, 8),
    "attention.self.key": (8, 8),
    "attention.self.value": (8, 8),
    "attention.output.dense": (8, 8),
    "intermediate.dense": (16, 8),
    "output.dense": (8, 16),
    "attention.output.LayerNorm": (8,),
    "output.LayerNorm": (8,),
}


def tiny_bert(folder):
    """A Hugging Face folder of a BERT small enough to read."""
    rng = np.random.default_rng(0)
    shapes = {f"encoder.layer.{layer}.{name}": shape for layer in range(2) for name, shape in LAYER.items()}
    shapes |= {"pooler.dense": (8, 8), "embeddings.LayerNorm": (8,)}
    tensors = {f"{name}.weight": shape for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": shape[:1] for name, shape in shapes.items()}
    tensors |= {"embeddings.word_embeddings.weight": (len(WORDS), 8), "embeddings.token_type_embeddings.weight": (2, 8)}
    tensors |= {"embeddings.position_embeddings.weight": (32, 8)}
    folder.mkdir(parents=True)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in tensors.items()}
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return tiny_bert(tmp_path / "bert")


def opened(folder):
    return open_text_encoder(str(folder), prefix="", max_tokens=16, cache=folder)


def reference(folder, ids):
    """The sentence vector by the formulas of BERT's paper, in float64."""
    w = {name: array.astype(np.float64) for name, array in load_file(folder / "model.safetensors").items()}

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True)) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(x, name):
        query, key, value = (dense(x, f"{name}.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            powers = np.exp(query[:, head] @ key[:, head].T / 2)
            heads.append(powers / powers.sum(-1, keepdims=True) @ value[:, head])
        return dense(np.concatenate(heads, -1), f"{name}.output.dense")

    from scipy.special import erf

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        x = norm(x + attend(x, f"{layer}.attention"), f"{layer}.attention.output.LayerNorm")
        wide = dense(x, f"{layer}.intermediate.dense")
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        x = norm(x + dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_a_folders_vectors_are_those_of_the_formulas(folder):
    vectors = opened(folder).encode(["Night reels", "alien night"])
    np.testing.assert_allclose(vectors[0], reference(folder, [2, 5, 6, 7, 3]), atol=1e-5)
    np.testing.assert_allclose(vectors[1], reference(folder, [2, 8, 5, 3]), atol=1e-5)


def test_a_vocabulary_reads_as_the_tokeniser_file_made_of_it(folder):
    encoder = opened(folder)
    before, with_vocabulary = encoder.digest, encoder.encode(["night REELS"])
    encoder.folder.tokenizer(max_tokens=16).save(str(folder / "tokenizer.json"))
    with_file = opened(folder)
    np.testing.assert_array_equal(with_file.encode(["night REELS"]), with_vocabulary)
    assert with_file.digest != before


def test_case_matters_where_the_config_says_so(folder):
    lower = opened(folder).digest
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert opened(folder)._tokens(["Night"]) == [[2, 1, 3]]
    assert opened(folder).digest != lower


def test_the_digest_follows_the_weights_bytes_and_not_the_folders_place(folder, tmp_path):
    before = opened(folder).digest
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert opened(moved).digest == before
    arrays = load_file(moved / "model.safetensors")
    arrays["pooler.dense.bias"][0] += 1
    save_file(arrays, moved / "model.safetensors", metadata={"format": "pt"})
    assert opened(moved).digest != before


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        (None, "unknown"),
        ("# none", "unknown"),
        ("---\nlanguage: zh\nlicense: mit\n---\n", "MIT"),
        ("---\nlicense: bsd-x\n---\n", "bsd-x"),
    ],
)
def test_the_licence_is_what_the_readme_states(folder, readme, licence):
    if readme:
        (folder / "README.md").write_text(readme)
    assert opened(folder).licence == licence


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_a_folder_that_misses_a_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"must hold .*{name}\. Received: "):
        opened(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "sub/weights.PT", "tokenizer.pkl", "m.ckpt", "m.pth", "m.h5"])
def test_a_folder_with_a_pickle_in_it_is_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match=rf"must hold no pickle\. Received: .*{name}$"):
        opened(folder)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"minilm, e5 or a local folder\. Received: .*nowhere$"):
        opened(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "roberta"}, r"model_type bert\. Received: 'roberta'"),
        ({"hidden_act": "relu"}, r"hidden_act gelu\. Received: 'relu'"),
        ({"position_embedding_type": "relative_key"}, r"absolute\. Received: 'relative_key'"),
        ({"hidden_size": "8"}, r"whole number hidden_size\. Received: '8'"),
    ],
)
def test_a_config_of_another_network_is_refused(folder, change, told):
    (folder / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(ValueError, match=told):
        opened(folder)


@pytest.mark.parametrize(("content", "told"), [("{", "is not JSON"), ("[]", "must hold a mapping"), ("\x00", "is not")])
def test_a_config_that_is_none_is_refused(folder, content, told):
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=rf"{told}.*Received: "):
        opened(folder)


def test_a_tokeniser_that_is_none_is_refused(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is no tokeniser: .*Received: "):
        opened(folder).encode(["night"])


@pytest.mark.parametrize("damage", ["cut", "other shape", "missing"])
def test_weights_that_do_not_fit_the_config_are_refused(folder, damage):
    path = folder / "model.safetensors"
    arrays = load_file(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "other shape":
        save_file(arrays | {"encoder.layer.1.output.dense.weight": np.zeros((8, 4), np.float32)}, path)
    else:
        del arrays["encoder.layer.1.output.dense.weight"]
        save_file(arrays, path)
    with pytest.raises(ValueError, match=r"do not load: .*Received: "):
        load_backbone(open_bert_folder(folder))
