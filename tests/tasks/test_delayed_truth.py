"""Delayed truth by hand: who is judged, on what, and that nothing of the window is known before it."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.params import PopularityParams
from models.popularity import Popularity
from models.protocol import Training
from tasks.delayed_truth import Known, lay_out, measure, measured
from tasks.params import Evaluate, Positives, Prepare
from tasks.ranker import Ranker

START = date(2026, 11, 1)
PARAMS = Prepare(positives=Positives(liked=True), min_viewer_events=3)
JUDGING = Evaluate(ks=[1, 2], primary="ndcg@2")


def table(*rows):
    """Events `(user, video, day, liked)`, each an hour after the one before it in its day."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    columns = {
        "user_id": [user for user, *_ in rows],
        "video_id": [video for _, video, *_ in rows],
        "timestamp": [start + timedelta(days=day, minutes=at) for at, (_, _, day, _) in enumerate(rows)],
        "liked": [liked for *_, liked in rows],
        "day": [START + timedelta(days=day) for _, _, day, _ in rows],
    }
    made = pl.DataFrame(columns).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))
    return made.sort("user_id", "timestamp", maintain_order=True)


EVENTS = table(
    (1, 10, 0, True), (1, 11, 0, True), (2, 10, 0, True), (3, 12, 0, True), (4, 10, 0, False),
    (1, 12, 1, True),   # new to 1
    (2, 10, 1, True),   # seen before
    (2, 13, 1, False),  # no positive
    (3, 14, 1, True),   # a video that nobody had met
    (4, 11, 1, True),   # of whom nothing was known
    (5, 11, 1, True),   # a stranger
    (1, 13, 2, True),
)  # fmt: skip
CATALOGUE = pl.DataFrame({"video_id": [10, 11, 12, 13, 14, 15]})
KNOWN = Known(pl.Series([1, 2, 3, 4]), pl.Series([10, 11, 12]))


def day(number):
    return START + timedelta(days=number)


@pytest.fixture
def truth(tmp_path):
    return lay_out(tmp_path / "window", EVENTS, CATALOGUE, (day(1), day(1)), KNOWN, PARAMS)


def test_known_viewers_with_a_history_and_something_new_are_judged(truth):
    assert truth.judged == 2
    assert truth.unknown_viewers == pytest.approx(1 / 5)
    assert truth.unknown_videos == pytest.approx(1 / 5)
    ids = truth.prepared.videos["video_id"].to_list()
    assert ids == [10, 11, 12, 13, 14]
    history = {user: truth.prepared.history().of(at).tolist() for at, user in enumerate((1, 2, 3, 4))}
    assert history == {1: [0, 1], 2: [0], 3: [2], 4: []}
    assert truth.prepared.videos["train_events"].to_list() == [2, 1, 1, 0, 0]


def test_figures_are_those_that_a_reader_would_count(truth):
    model = Popularity(PopularityParams(half_life_days=None))
    history = truth.prepared.train()
    model.fit(Training(history, truth.prepared.valid(), n_videos=5, now=0, seed=0))
    ranker = Ranker(model, n_videos=5, name="popularity")
    live, popular = measured(ranker, truth, JUDGING, counted=PopularityParams(half_life_days=None))
    # viewer 1 has seen 10 and 11 and is shown 12 first: right. Viewer 3 is shown 10 and 11: wrong
    assert live.viewers["user_id"].to_list() == [1, 3]
    assert live.viewers["ndcg@2"].to_list() == [1.0, 0.0]
    assert live.viewers.equals(popular.viewers)
    assert measure(live.viewers["ndcg@2"].to_numpy()).sd == pytest.approx(np.sqrt(0.5))


def test_a_window_of_two_days_holds_what_both_have(tmp_path):
    truth = lay_out(tmp_path / "window", EVENTS, CATALOGUE, (day(1), day(2)), KNOWN, PARAMS)
    assert truth.prepared.holdout().of(0).tolist() == [2, 3]


def test_a_day_without_positives_judges_nobody(tmp_path):
    events = EVENTS.with_columns(liked=pl.col("liked") & (pl.col("day") != day(1)))
    truth = lay_out(tmp_path / "window", events, CATALOGUE, (day(1), day(1)), KNOWN, PARAMS)
    assert (truth.judged, truth.unknown_viewers, truth.unknown_videos) == (0, 0.0, 0.0)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(10, 15), st.booleans()), max_size=8))
def test_what_happens_later_changes_nothing(tmp_path_factory, later):
    folder = tmp_path_factory.mktemp("window")
    more = pl.concat([EVENTS, table(*((*row[:2], 3, row[2]) for row in later))]) if later else EVENTS
    more = more.sort("user_id", "timestamp", maintain_order=True)
    before, after = (
        lay_out(folder / name, events, CATALOGUE, (day(1), day(1)), KNOWN, PARAMS)
        for name, events in (("before", EVENTS), ("after", more))
    )
    assert before.prepared.videos.equals(after.prepared.videos)
    for part in ("history", "holdout"):
        one, other = getattr(before.prepared, part)(), getattr(after.prepared, part)()
        assert one.videos.tolist() == other.videos.tolist()
        assert one.times.tolist() == other.times.tolist()
