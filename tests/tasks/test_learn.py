import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from infra.errors import BadInput, Refused
from infra.registry import Registry
from infra.settings import Settings
from models.alignment import Alignment
from models.encoders.text import open_text_encoder
from models.frame_sequence import FrameSequence
from models.params import AlignmentParams, FrameSequenceParams, Learn, TunedTextParams
from tasks.clips import Clip
from tasks.learn import learn
from tasks.learn_checks import check_vectors, held_against, judge_next_frames, judge_tuned, judge_views, verdict
from tasks.learn_job import Job
from tasks.params import Text
from tasks.register_encoder import register_encoder, registered_name
from tests.models.encoders.test_text_folder import tiny_bert

PARAMS = Learn(
    frame_sequence=FrameSequenceParams(
        units=16, dim=4, window=4, stride=1, codes=4, batch_size=32, epochs=15, patience=15, learning_rate=0.02
    ),
    alignment=AlignmentParams(dim=6, hidden=8, length=2, epochs=2, cuts=2),
    tuned_text=TunedTextParams(max_tokens=8, layers=1, epochs=1, head_epochs=3, min_texts=4, valid=0.2, held_out=0.2),
)


def leave_clips(folder):
    """Points that go round a circle, seen whole and in three crops; two with sound."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        angles = rng.uniform(0, 6) + np.arange(120) * np.pi / 6
        around = np.stack([np.cos(angles), np.sin(angles), np.full(120, 2.0)], axis=1)
        features = np.concatenate([around, np.zeros((120, 5))], axis=1) + rng.normal(scale=0.02, size=(120, 8))
        views = features + rng.normal(scale=0.3, size=(4, 1, 8))
        sound = rng.normal(size=(120, 5)).astype(np.float32) if seed else None
        kept = Clip(features.astype(np.float32), np.arange(120) / 4, views.astype(np.float32), sound)
        kept.save(folder / f"clip{seed}.npz")


def leave_catalogue(path):
    words = {"dark": "night", "film": "reel"}
    rows = [(f"v{at}", f"{words[name]} alien", [name], name) for at, name in enumerate(["dark", "film"] * 20)]
    rows += [("v98", "alien", [], "rare"), ("v99", "  ", [], "dark")]
    columns = {"video_id": pl.String, "title": pl.String, "tags": pl.List(pl.String), "category": pl.String}
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(path)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    root = tmp_path_factory.mktemp("learn")
    leave_clips(root / "clips")
    leave_catalogue(root / "catalogue.parquet")
    model = str(tiny_bert(root / "bert"))
    return Job(
        clips=root / "clips",
        catalogue=root / "catalogue.parquet",
        prepared=root / "prepared",
        out=root / "out",
        params=PARAMS,
        text=Text(model=model, max_tokens=16),
        frames=None,
        seed=0,
        checkpoints=root / "checkpoints",
        cache=root / "cache",
    )


def learned(job, name):
    """The figures, and the folder they are of."""
    own = replace(job, out=job.out / name)
    metrics = job.out / f"{name}.json"
    figures = learn(name, own, metrics)
    assert json.loads(metrics.read_text()) == figures
    assert not job.checkpoints.exists()
    return figures, own.out


def test_frames_that_move_are_predicted_better_than_by_copying(job):
    figures, folder = learned(job, "frame-sequence")
    assert figures["measure"]["mse"] < figures["baseline"]["copy-last"]["mse"]
    assert figures["measure"]["mse_difference"]["high"] < 0
    assert figures["passed"], figures["checks"]
    assert FrameSequence.load(folder).digest == figures["digest"]
    assert figures["device"].startswith("cpu")


def test_views_are_measured_by_kind_beside_the_features_and_chance(job):
    figures, folder = learned(job, "alignment")
    kinds = {"known crop", "crop", "speed", "crop and speed", "sound"}
    assert set(figures["measure"]) == set(figures["baseline"]) == kinds
    assert figures["measure"]["crop"]["queries"] == 54
    assert figures["baseline"]["sound"]["recall_at_1"] == pytest.approx(1 / 18)
    assert Alignment.load(folder).digest == figures["digest"]


def test_a_tuned_encoder_opens_by_its_folder(job):
    figures, folder = learned(job, "tuned-text")
    assert figures["categories"] == ["dark", "film"]
    assert figures["measure"]["texts"] == figures["baseline"]["pretrained"]["texts"] > 0
    assert [check["name"] for check in figures["checks"]] == [
        "same texts",
        "macro_f1",
        "accuracy",
        "dimension",
        "finite",
        "unit length",
    ]
    assert open_text_encoder(str(folder), prefix="", max_tokens=16, cache=folder).digest == figures["digest"]


@pytest.mark.parametrize("name", ["frame-sequence", "alignment"])
def test_a_catalogue_without_clips_is_no_fault_but_passes_nothing(job, tmp_path, name):
    figures = learn(name, replace(job, clips=tmp_path, out=tmp_path / "out"), tmp_path / "m.json")
    assert not figures["passed"]
    assert figures["checks"][0]["reason"] == "The catalogue has no clips whose frames were encoded"
    assert list((tmp_path / "out").iterdir()) == []


def test_clips_that_are_too_short_are_told(job, tmp_path):
    short = Clip(np.ones((3, 8), np.float32), np.arange(3.0), np.zeros((2, 3, 8), np.float32))
    short.save(tmp_path / "a.npz")
    figures = learn("frame-sequence", replace(job, clips=tmp_path, out=tmp_path / "out"), tmp_path / "m.json")
    assert (figures["passed"], figures["checks"][0]["name"]) == (False, "data")


def test_a_catalogue_without_categories_is_told(job, tmp_path):
    pl.DataFrame({"video_id": ["v1"], "title": ["alien"]}).write_parquet(tmp_path / "catalogue.parquet")
    bare = replace(job, catalogue=tmp_path / "catalogue.parquet", out=tmp_path / "out")
    figures = learn("tuned-text", bare, tmp_path / "m.json")
    assert figures["checks"][0]["reason"] == "The catalogue has no titles with categories"


def test_an_unknown_learner_and_a_broken_clip_are_told(job, tmp_path):
    with pytest.raises(
        BadInput, match=r"A learner is one of frame-sequence, alignment, tuned-text, tuned-frames\. Received: x"
    ):
        learn("x", job, tmp_path / "m.json")
    (tmp_path / "a.npz").write_bytes(b"none")
    with pytest.raises(BadInput, match=r"a\.npz must hold features"):
        learn("alignment", replace(job, clips=tmp_path, out=tmp_path / "out"), tmp_path / "m.json")


def test_a_training_that_diverges_is_refused(job, tmp_path):
    wild = PARAMS.model_copy(
        update={"frame_sequence": PARAMS.frame_sequence.model_copy(update={"learning_rate": 1e38})}
    )
    with pytest.raises(Refused, match="learner frame-sequence failed"):
        learn("frame-sequence", replace(job, params=wild, out=tmp_path / "out"), tmp_path / "m.json")


def test_what_was_learned_is_registered_once(job, tmp_path):
    figures, folder = learned(job, "alignment")
    registry = Registry(Settings(home=tmp_path, mlflow_uri=None), registered_name("alignment", "clips"))
    made, again = (
        register_encoder(folder, job.out / "alignment.json", registry, run="night-1", name="alignment")
        for _ in range(2)
    )
    assert made == again == "1"
    tags = registry.tags_of(made)
    assert tags["nightreel.verdict"] == ("passed" if figures["passed"] else "refused")
    assert tags["nightreel.digest"] == figures["digest"]
    with registry._asked() as client:
        version = client.get_model_version("alignment-of-clips", made)
        files = {file.path for file in client.list_artifacts(version.run_id, "encoder")}
        logged = client.get_run(version.run_id).data.metrics
    assert files == {"encoder/config.json", "encoder/weights.safetensors"}
    assert logged["measure.crop.mrr"] == figures["measure"]["crop"]["mrr"]


FIGURES = {"macro_f1": 0.5, "accuracy": 0.6, "texts": 40.0}
UNIT = np.eye(3, 4, dtype=np.float32)


def tuned_verdict(tuned=FIGURES, pretrained=FIGURES, vectors=UNIT, dim=4):
    told = judge_tuned(tuned, pretrained, vectors=vectors, dim=dim, margin=0.01)
    return told["passed"], [check["name"] for check in told["checks"] if not check["passed"]]


def test_an_encoder_that_lost_no_more_than_the_margin_passes():
    assert tuned_verdict() == (True, [])
    assert tuned_verdict(FIGURES | {"macro_f1": 0.491}) == (True, [])
    assert tuned_verdict(FIGURES | {"macro_f1": 0.489}) == (False, ["macro_f1"])


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"tuned": None}, ["same texts", "macro_f1", "accuracy"]),
        ({"pretrained": {}}, ["same texts", "macro_f1", "accuracy"]),
        ({"tuned": FIGURES | {"accuracy": float("nan")}}, ["accuracy"]),
        ({"tuned": FIGURES | {"texts": 39.0}}, ["same texts"]),
        ({"vectors": None}, ["dimension", "finite", "unit length"]),
        ({"vectors": UNIT * np.nan}, ["finite", "unit length"]),
        ({"vectors": UNIT * 2}, ["unit length"]),
        ({"dim": 5}, ["dimension"]),
    ],
)
def test_the_gate_of_a_tuned_encoder_fails_closed(changes, fails):
    assert tuned_verdict(**changes) == (False, fails)


def test_a_model_of_frames_must_beat_copying_beyond_chance():
    figures = {
        "model": {"mse": 1.0, "cosine": 0.9, "perplexity": 2.0},
        "copy-last": {"mse": 1.2, "cosine": 0.8, "perplexity": 3.0},
    }
    assert judge_next_frames(figures, (-0.3, -0.1))["passed"]
    assert not judge_next_frames(figures, (-0.3, 0.1))["passed"]
    assert not judge_next_frames(figures, None)["passed"]
    assert not judge_next_frames({}, (-0.3, -0.1))["passed"]
    swapped = {"model": figures["copy-last"], "copy-last": figures["model"]}
    assert not judge_next_frames(swapped, (-0.3, -0.1))["passed"]


def test_an_alignment_must_find_more_than_the_features_do():
    low, high = {"recall_at_1": 0.4, "mrr": 0.5}, {"recall_at_1": 0.5, "mrr": 0.6}
    better = {kind: {"model": high, "features": low} for kind in ("crop", "crop and speed", "speed")}
    assert judge_views(better)["passed"]
    assert not judge_views(better | {"crop": {"model": low, "features": high}})["passed"]
    assert not judge_views({})["passed"]


def test_no_check_is_no_pass():
    assert not verdict([])["passed"]
    assert not held_against("mrr", 0.5, 0.5).passed
    assert [check.passed for check in check_vectors(np.zeros((0, 4), np.float32), dim=4)] == [False] * 3
