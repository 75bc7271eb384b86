"""Answers from a release's folder and nothing else."""

import numpy as np
import polars as pl
import pytest

from infra.errors import BadInput
from models.catalogue import recommender
from models.faiss_index import DenseSettings
from models.params import ItemKnnParams, MultiTaskParams
from models.protocol import Training
from models.search import Index, space_id
from models.sequences import Sequences
from tasks.recommend import Bundle

HISTORIES = ([0, 1], [0, 1, 2], [1, 2], [3])
DENSE = DenseSettings("auto", 100_000, 32, 128, 1024, 32)
KNN = ItemKnnParams(neighbours=3, shrink=0.0)
TITLES = ("Ünder the Pier", "b" * 10_000, None, "d")


def sequences(histories):
    flat = [video for history in histories for video in history]
    offsets = np.cumsum([0, *map(len, histories)])
    ones = np.ones(len(flat), np.float32)
    return Sequences(offsets, np.array(flat, np.int32), np.arange(len(flat), dtype=np.int64), ones)


def make_bundle(folder, users, candidate="itemknn", params=KNN):
    known = sequences(HISTORIES)
    empty = known.where(np.zeros(len(known.videos), bool))
    model = recommender(candidate, params)
    model.fit(Training(train=known, valid=empty, n_videos=4, now=10, seed=0))
    model.save(folder / "model")
    index = Index.build(model.video_vectors(), DENSE, space=space_id(folder / "model"), seed=0)
    index.save(folder / "index")
    known.save(folder / "sequences")
    pl.DataFrame({"user_id": users}).write_parquet(folder / "viewers.parquet")
    videos = {"video_id": [10, 11, 12, 13], "title": TITLES, "train_events": [2, 3, 2, 1]}
    pl.DataFrame(videos).write_parquet(folder / "vocabulary.parquet")
    return Bundle(folder, candidate)


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path, [1, 2, 3, 4])


def test_a_known_viewer_gets_what_they_have_not_seen(bundle):
    answer = bundle.recommend("1", k=2)
    assert answer.reason == "history"
    assert [video["video_id"] for video in answer.videos] == [12, 13]
    assert answer.videos[0]["title"] is None
    # 0 and 1 are in a cosine of 2/sqrt(2*3) and 1/sqrt(2*2) to 2
    assert answer.videos[0]["score"] == pytest.approx(2 / np.sqrt(6) + 0.5, abs=1e-6)


def test_why_names_the_watched_videos_that_carried_each_one(bundle):
    first, second = bundle.recommend("1", k=2, explain=True).videos
    why = [(each["video_id"], each["score"], each["exact"]) for each in first["because"]]
    assert why == [(11, pytest.approx(2 / np.sqrt(6), abs=1e-6), True), (10, 0.5, True)]
    assert second["because"] == []  # nobody watched 13 with either


@pytest.mark.parametrize("user", ["5", "-1", "ada", "", "9" * 30, "\u0661"])
def test_an_unknown_viewer_gets_the_popular_list(bundle, user):
    answer = bundle.recommend(user, k=3)
    assert answer.reason == "popular"
    assert [video["video_id"] for video in answer.videos] == [11, 10, 12]
    assert answer.videos[0]["title"] == "b" * 10_000


def test_ids_may_be_words(tmp_path):
    bundle = make_bundle(tmp_path, ["ada", "bob", "1", "中"])
    assert bundle.recommend("中", k=1).reason == "history"
    assert bundle.recommend("Ada", k=1).reason == "popular"


@pytest.mark.parametrize("k", [0, 5])
def test_k_stays_in_the_catalogue(bundle, k):
    with pytest.raises(BadInput, match=rf"k must lie in 1\.\.4, the size of the catalogue\. Received: k={k}"):
        bundle.recommend("1", k=k)


def test_somebody_is_answered_before_it_goes_live(bundle):
    bundle.answer_somebody()
    (bundle.folder / "index/index.json").write_text("{}")
    with pytest.raises(ValueError, match="index"):
        Bundle(bundle.folder, "itemknn").answer_somebody()


def test_a_ranker_answers_with_its_own_list_and_says_why(tmp_path):
    bundle = make_bundle(tmp_path, [1, 2, 3, 4], "multitask", MultiTaskParams(epochs=1, each=4))
    answer = bundle.recommend("1", k=2, explain=True)
    lists, scores = bundle.model.rank(sequences([HISTORIES[0]]), 2)
    assert [(row["video_id"] - 10, row["score"]) for row in answer.videos] == [
        (video, pytest.approx(score, abs=1e-6)) for video, score in zip(lists[0], scores[0], strict=True)
    ]
    assert all(not reason["exact"] for row in answer.videos for reason in row["because"])
    assert bundle.index.facts.kind == "inverted"
