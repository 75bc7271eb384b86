import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.checkpoint import Checkpoint
from models.params import TunedTextParams
from models.protocol import Diverged
from models.tuning import SHARPNESS, Parts, tune
from models.tuning_category import Categories
from models.tuning_watch import Watched

pytest.importorskip("keras_hub", reason="nightreel[text] is not installed")

from models.encoders.text import load_backbone, open_text_encoder
from models.tuned_text import Texts, folder_tensors, save_text_encoder
from tests.models.encoders.test_text_folder import tiny_bert

TINY = {
    "max_tokens": 8,
    "layers": 1,
    "epochs": 2,
    "learning_rate": 0.01,
    "head_epochs": 5,
    "head_learning_rate": 0.05,
    "batch_size": 8,
}
TEXTS = ["night", "night night", "reel", "reel reel", "reels", "night alien", "reel alien", "alien night"] * 4
LABELS = np.array([0, 0, 1, 1, 1, 0, 1, 0] * 4, np.int32)
EVERY = np.arange(len(TEXTS))
CATEGORIES = Categories.of(LABELS, Parts(EVERY, EVERY, EVERY), count=2)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tiny_bert(tmp_path_factory.mktemp("bert") / "tiny")
    return open_text_encoder(str(folder), prefix="", max_tokens=16, cache=folder)


def tuned(encoder, mode, **params):
    return tuned_on(encoder, CATEGORIES, **params | {"mode": mode})


def tuned_on(encoder, goal, *, checkpoint=None, **params):
    params = TunedTextParams(**TINY | params)
    material = Texts(encoder, TEXTS, max_tokens=params.max_tokens)
    return tune(material, goal, params=params, seed=0, checkpoint=checkpoint)


def tensors(result):
    """Of the tuned network, in the folder's names."""
    return folder_tensors(result.body.backbone)


def changed(encoder, result):
    """Names of the tensors that differ from the folder's."""
    before = load_file(encoder.folder.path / "model.safetensors")
    return {name for name, array in tensors(result).items() if not np.array_equal(array, before[name])}


def test_the_folders_tensors_come_back_from_the_network_as_they_were(encoder):
    before = load_file(encoder.folder.path / "model.safetensors")
    after = folder_tensors(load_backbone(encoder.folder))
    assert set(before) - set(after) == {"pooler.dense.weight", "pooler.dense.bias"}
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_frozen_leaves_the_encoder_as_it_is(encoder, tmp_path):
    result = tuned(encoder, "frozen")
    assert result.body is None
    save_text_encoder(tmp_path, source=encoder.folder.path, tuned=result)
    opened = open_text_encoder(str(tmp_path), prefix="", max_tokens=16, cache=tmp_path)
    np.testing.assert_array_equal(opened.encode(TEXTS[:4]), encoder.encode(TEXTS[:4]))


def test_top_changes_the_last_layers_only(encoder):
    names = changed(encoder, tuned(encoder, "top"))
    assert names
    assert all(name.startswith("encoder.layer.1.") for name in names)


@pytest.fixture(scope="module")
def full(encoder):
    """All of the encoder tuned, for long enough."""
    return tuned(encoder, "full", epochs=30, patience=30, learning_rate=0.003)


def test_full_changes_every_layer_and_the_words(encoder, full):
    names = changed(encoder, full)
    assert {name.split(".")[2] for name in names if name.startswith("encoder.")} == {"0", "1"}
    assert "embeddings.word_embeddings.weight" in names


def test_the_tuned_encoder_opens_like_any_other_and_knows_the_task(encoder, full, tmp_path):
    save_text_encoder(tmp_path, source=encoder.folder.path, tuned=full)
    opened = open_text_encoder(str(tmp_path), prefix="", max_tokens=16, cache=tmp_path)
    assert opened.dim == encoder.dim
    assert opened.digest != encoder.digest
    np.testing.assert_allclose(np.linalg.norm(opened.encode(TEXTS), axis=1), 1, atol=1e-5)
    best = min(epoch["valid_loss"] for epoch in full.facts["epochs"])
    assert cross_entropy(full, opened) == pytest.approx(best, rel=0.02)
    assert best < cross_entropy(tuned(encoder, "frozen"), encoder) - 0.1


def cross_entropy(result, opened):
    """Of the head over the vectors that `opened` gives, so of what others will see of the tuned encoder."""
    logits = SHARPNESS * opened.encode(TEXTS).astype(np.float64) @ np.asarray(result.head.choice.kernel) + np.asarray(
        result.head.choice.bias
    )
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(LABELS)), LABELS])


def test_the_network_begins_with_the_encoder_and_the_head_of_frozen(encoder):
    begun = tuned(encoder, "full", epochs=1, learning_rate=1e-30)
    (epoch,) = begun.facts["epochs"]
    assert epoch["valid_loss"] == pytest.approx(cross_entropy(tuned(encoder, "frozen"), encoder), rel=1e-2)


def test_more_layers_than_there_are_is_refused(encoder):
    with pytest.raises(ValueError, match=r"layers must lie in 1\.\.2\. Received: layers=3"):
        tuned(encoder, "top", layers=3)


def test_a_part_without_texts_is_refused(encoder):
    nothing = Categories.of(LABELS, Parts(EVERY, EVERY[:0], EVERY), count=2)
    with pytest.raises(ValueError, match="Each part must have texts"):
        tuned_on(encoder, nothing)


def test_a_learning_rate_beyond_reason_diverges(encoder):
    with pytest.raises(Diverged, match="lower learning_rate"):
        tuned(encoder, "full", learning_rate=1e38)


@pytest.mark.slow
def test_a_tuning_that_was_killed_goes_on_to_the_same_weights(encoder, tmp_path):
    def run(epochs, checkpoint):
        return tuned_on(encoder, CATEGORIES, epochs=epochs, patience=9, checkpoint=checkpoint)

    whole = run(3, None)
    run(1, Checkpoint(tmp_path, "key"))
    again = tensors(run(3, Checkpoint(tmp_path, "key")))
    for name, array in tensors(whole).items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)


def test_the_task_watch_changes_the_last_layers_only_and_begins_where_frozen_ends(encoder):
    goal = Watched.of(np.array([[0, 1], [2, 3], [4, 5], [6, 7]]), Parts(EVERY, EVERY, EVERY))
    frozen = tuned_on(encoder, goal, mode="frozen", task="watch")
    begun = tuned_on(encoder, goal, mode="top", task="watch", epochs=1, learning_rate=1e-6)
    (epoch,) = begun.facts["epochs"]
    assert epoch["valid_loss"] == pytest.approx(min(told["valid_loss"] for told in frozen.facts["epochs"]), rel=1e-2)
    assert {name.rpartition("layer.")[2][:2] for name in changed(encoder, begun)} <= {"1."}


PROGRAM = """
import sys
from pathlib import Path
from models.encoders.text import open_text_encoder
from models.tuned_text import save_text_encoder
from tests.models.test_tuned_text import tuned
source = Path(sys.argv[2])
encoder = open_text_encoder(str(source), prefix="", max_tokens=16, cache=source)
save_text_encoder(Path(sys.argv[1]), source=source, tuned=tuned(encoder, "full"))
"""


@pytest.mark.slow
def test_two_processes_tune_to_the_same_bytes_and_say_nothing(encoder, tmp_path):
    digests = []
    for name in ("one", "two"):
        command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / name), str(encoder.folder.path)]
        ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", "")
        digests.append(sha256((tmp_path / name / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
