"""Feedback as a ranker learns from it: what the source tells, and nothing that the split holds back."""

import numpy as np
import polars as pl
import pytest

from tasks.feedback import read_feedback, video_facts
from tasks.params import Positives, Prepare
from tests.tasks.raw_folder import Night, kuairand
from tests.tasks.sources import needs_kuairand
from tests.tasks.test_prepare import NOON_MS, accept, watched

EVENTS = ((1, 10, 0), (1, 20, 1), (1, 30, 2), (1, 40, 3), (2, 10, 0), (2, 20, 4), (2, 40, 5))
LIKED = [True, True, None, True, True, False, True]
VIDEOS = pl.DataFrame({"video_id": [10, 20, 30, 40], "duration_seconds": [4.0, 0.0, None, 8.0]})


def left(tmp_path, *, seed=1, **params):
    log = watched(*EVENTS, liked=LIKED, watch_seconds=[3.0, 5.0, 0.0, 8.0, 4.0, None, 9.0])
    chosen = {"min_viewer_events": 1, "min_holdout_viewers": 1, "split": "last-out", "valid": 0.1} | params
    return accept(Night(tmp_path), log, videos=VIDEOS).prepare(Prepare.model_validate(chosen), seed=seed)


def rows(prepared):
    """`(user, video, seconds after noon, told)` of each event, by time."""
    found = read_feedback(prepared.folder)
    users, videos = prepared.viewers["user_id"].to_list(), prepared.videos["video_id"].to_list()
    told = [{name: round(float(of[at]), 4) for name, of in found.told.items()} for at in range(len(found.viewers))]
    return [
        (users[viewer], videos[video], (int(time) - NOON_MS) // 1000, one)
        for viewer, video, time, one in zip(found.viewers, found.videos, found.times, told, strict=True)
    ]


def test_what_is_told_of_events_before_the_holdout(tmp_path):
    nan = pytest.approx(np.nan, nan_ok=True)
    assert rows(left(tmp_path)) == [
        (1, 10, 0, {"watch": 1.3863, "finished": 0, "liked": 1}),
        (1, 20, 1, {"watch": 1.7918, "finished": nan, "liked": 1}),
        (1, 30, 2, {"watch": 0, "finished": nan, "liked": nan}),
        (2, 10, 0, {"watch": 1.6094, "finished": 1, "liked": 1}),
        (2, 20, 4, {"watch": nan, "finished": nan, "liked": 0}),
    ]


def test_what_is_no_positive_tells_as_well_but_not_from_the_holdout_on(tmp_path):
    prepared = left(tmp_path, positives={"liked": True}, min_holdout_viewers=1)
    assert prepared.sequences.lengths.tolist() == [3, 2]
    assert [row[:3] for row in rows(prepared)] == [  # nobody liked video 30: it is not known
        (1, 10, 0),
        (1, 20, 1),
        (2, 10, 0),
        (2, 20, 4),
        (2, 40, 5),
    ]


def test_a_split_in_time_holds_back_what_comes_after_it_for_everybody(tmp_path):
    prepared = left(tmp_path, split="time", holdout=0.3, valid=0.2)
    cut = prepared.sequences.times[prepared.split == 2].min()
    assert cut == NOON_MS + 4000
    assert [row[:3] for row in rows(prepared)] == [(1, 10, 0), (1, 20, 1), (1, 30, 2), (1, 40, 3), (2, 10, 0)]


def test_a_random_split_holds_back_its_pairs_and_one_of_viewers_all_of_theirs(tmp_path):
    prepared = left(tmp_path / "a", split="random", holdout=0.25)
    held = prepared.holdout()
    users, videos = prepared.viewers["user_id"], prepared.videos["video_id"]
    pairs = {(users[int(v)], videos[int(i)]) for v, i in zip(held.viewer_of_event(), held.videos, strict=True)}
    assert pairs
    assert {row[:2] for row in rows(prepared)} == {event[:2] for event in EVENTS} - pairs
    judging = left(tmp_path / "b", split="viewers", holdout=0.5, seed=6)
    of = {judging.viewers["user_id"][int(v)] for v in np.flatnonzero(judging.holdout().lengths)}
    assert len(of) == 1
    assert {row[0] for row in rows(judging)} == {1, 2} - of


def test_what_the_catalogue_says_of_videos(tmp_path):
    told = VIDEOS.with_columns(
        category=pl.Series(["news", "news", None, "sport"]), tags=pl.Series([["a", "b"], ["a"], [], None])
    )
    facts = video_facts(told)
    assert facts.uploaded.tolist() == [-1] * 4
    np.testing.assert_array_equal(facts.seconds, np.array([4, np.nan, np.nan, 8], np.float32))
    np.testing.assert_allclose(facts.topics.sum(axis=1), [1, 1, 0, 1])
    assert facts.topics.toarray()[0].tolist().count(np.float32(1 / 3)) == 3


@needs_kuairand
def test_kuairands_feedback_is_all_there(tmp_path):
    night = accept(Night(tmp_path), *kuairand(tmp_path)[:1], videos=kuairand(tmp_path)[1])
    prepared = night.prepare(Prepare(positives=Positives(liked=True), split="last-out", min_viewer_events=3))
    found = read_feedback(prepared.folder)
    assert list(found.told) == ["watch", "finished", "liked", "shared", "followed", "commented", "disliked"]
    assert np.mean(found.told["disliked"] + found.told["liked"] >= 1) == 1  # the excerpt's rows have one or the other
