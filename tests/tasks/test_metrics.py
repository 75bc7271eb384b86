import math
import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.sequences import Sequences
from tasks import metrics
from tasks.metrics import list_metrics, ranking_metrics, video_features

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what ranx's own imports warn about is not ours
    import numba

    numba.config.DISABLE_JIT = True  # compiling ranx takes a minute; as plain Python it is the same code
    import ranx


def sequences(*videos):
    offsets = np.cumsum([0] + [len(row) for row in videos])
    flat = np.array([video for row in videos for video in row], np.int32)
    return Sequences(offsets, flat, np.arange(len(flat)), np.ones(len(flat), np.float32))


def lists(*rows):
    return np.array(rows, np.int32)


def test_figures_of_a_list_worked_out_by_hand():
    found = ranking_metrics(lists([7, 1, 8, 2]), sequences([1, 2, 3]), ks=[2, 4])
    ideal_2, ideal_4 = 1 + 1 / math.log2(3), 1 + 1 / math.log2(3) + 1 / 2
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {
            "ndcg@2": 1 / math.log2(3) / ideal_2,
            "recall@2": 1 / 3,
            "hit@2": 1,
            "mrr@2": 1 / 2,
            "map@2": 1 / 2 / 3,
            "ndcg@4": (1 / math.log2(3) + 1 / math.log2(5)) / ideal_4,
            "recall@4": 2 / 3,
            "hit@4": 1,
            "mrr@4": 1 / 2,
            "map@4": (1 / 2 + 2 / 4) / 3,
        }
    )


@st.composite
def recommendations(draw):
    n_viewers = draw(st.integers(1, 6))
    n_videos = draw(st.integers(1, 12))
    width = draw(st.integers(1, 8))
    rows, relevant = [], []
    for _ in range(n_viewers):
        shown = draw(st.lists(st.integers(0, n_videos - 1), unique=True, max_size=width))
        rows.append(draw(st.permutations(shown + [-1] * (width - len(shown)))))
        relevant.append(draw(st.lists(st.integers(0, n_videos - 1), unique=True, min_size=1)))
    return lists(*rows), relevant, draw(st.lists(st.integers(1, width), min_size=1, max_size=3, unique=True))


@pytest.mark.parametrize("marks", [1, 16, metrics.MARKS_AT_ONCE])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=recommendations())
def test_every_figure_equals_that_of_ranx(monkeypatch, marks, drawn):
    monkeypatch.setattr(metrics, "MARKS_AT_ONCE", marks)
    recommended, relevant, ks = drawn
    # ranx knows no empty place: give each one an id that nobody watched.
    run = {
        str(viewer): {str(video) if video >= 0 else f"none{at}": float(-at) for at, video in enumerate(row)}
        for viewer, row in enumerate(recommended.tolist())
    }
    qrels = {str(viewer): {str(video): 1 for video in row} for viewer, row in enumerate(relevant)}
    names = {"ndcg": "ndcg", "recall": "recall", "hit": "hit_rate", "mrr": "mrr", "map": "map"}
    ours = ranking_metrics(recommended, sequences(*relevant), ks=ks)
    for name, values in ours.items():
        metric, _, k = name.partition("@")
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), f"{names[metric]}@{k}", return_mean=False)
        np.testing.assert_allclose(values, theirs, atol=1e-9, err_msg=name)


def test_a_viewer_without_relevant_videos_scores_nothing():
    found = ranking_metrics(lists([0, 1], [1, 0]), sequences([], [1]), ks=[1])
    assert found["ndcg@1"].tolist() == [0, 1]
    assert found["recall@1"].tolist() == [0, 1]


@pytest.mark.parametrize(("relevant", "ks"), [(sequences([1]), [2]), (sequences([1], [2]), [3])])
def test_other_viewers_or_a_longer_k_are_refused(relevant, ks):
    with pytest.raises(ValueError, match=r"Received: 2 lists of 2, relevant videos of"):
        ranking_metrics(lists([0, 1], [1, 0]), relevant, ks=ks)


CATALOGUE = pl.DataFrame({"video_id": [1, 2, 3, 4]})
WATCHED = sequences([0, 1], [0, 1], [0, 2], [0])
COUNTS = np.array([4, 2, 1, 0])


def of_lists(recommended, ks=(2,), videos=CATALOGUE):
    return list_metrics(recommended, ks=ks, train_events=COUNTS, features=video_features(videos, WATCHED))


def test_coverage_is_the_share_of_the_catalogue_that_is_shown():
    found = of_lists(lists([0, 1], [0, -1]), ks=[1, 2])
    assert (found["coverage@1"], found["coverage@2"]) == (1 / 4, 2 / 4)


def test_novelty_is_mean_surprise_in_bits():
    # 7 events and 4 videos: shares 5/11, 3/11, 2/11, 1/11.
    assert of_lists(lists([0, 3]))["novelty@2"] == pytest.approx((-math.log2(5 / 11) - math.log2(1 / 11)) / 2)


def test_popularity_bias_compares_with_what_people_watch():
    watched = (4 * 4 + 2 * 2 + 1 * 1) / 7
    assert of_lists(lists([0, 3]))["popularity_bias@2"] == pytest.approx(2 / watched)


def test_diversity_by_tags_and_category():
    videos = CATALOGUE.with_columns(
        tags=pl.Series([["a", "b"], ["a", "b", "a"], None, ["c"]]), category=pl.Series([None, None, None, "c"])
    )
    assert of_lists(lists([0, 1]), videos=videos)["diversity@2"] == pytest.approx(0)
    assert of_lists(lists([0, 3]), videos=videos)["diversity@2"] == pytest.approx(1)
    assert of_lists(lists([0, 2]), videos=videos)["diversity@2"] == pytest.approx(1), "no tags: unlike every other"
    assert of_lists(lists([0, 1, 3]), ks=[3], videos=videos)["diversity@3"] == pytest.approx(1 - 1 / 3)


def test_diversity_by_co_watches_where_under_half_of_the_videos_have_tags():
    videos = CATALOGUE.with_columns(tags=pl.Series([["a"], None, None, []], dtype=pl.List(pl.String)))
    cosine = 2 / math.sqrt(4 * 2)
    assert of_lists(lists([0, 1], [1, 2]), videos=videos)["diversity@2"] == pytest.approx(1 - cosine / 2)


def test_diversity_leaves_out_lists_of_one_video():
    assert of_lists(lists([0, 1], [2, -1]))["diversity@2"] == of_lists(lists([0, 1]))["diversity@2"]
    assert of_lists(lists([2, -1]))["diversity@2"] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_diversity_equals_the_pairs_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    watched = sequences(*[rng.integers(0, 9, rng.integers(1, 6)).tolist() for _ in range(7)])
    matrix = np.zeros((9, 7))
    matrix[watched.videos, watched.viewer_of_event()] = 1
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    recommended = np.array([rng.permutation(9)[:4] for _ in range(5)], np.int32)
    pairs = [np.mean([unit[a] @ unit[b] for i, a in enumerate(row) for b in row[:i]]) for row in recommended]
    features = video_features(pl.DataFrame({"video_id": range(9)}), watched)
    found = list_metrics(recommended, ks=[4], train_events=np.ones(9, np.int64), features=features)
    assert found["diversity@4"] == pytest.approx(1 - np.mean(pairs))


def test_nothing_recommended_has_no_figures_but_coverage():
    found = of_lists(lists([-1, -1]))
    assert found.pop("coverage@2") == 0
    assert len(found) == 3
    assert all(math.isnan(value) for value in found.values())
