"""Drift of events: planted drift is seen, and days like those of training seldom raise an alarm."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from lineage.windows import Drift
from tasks.divergence import jensen_shannon
from tasks.drift import stability_index
from tasks.event_profile import Profile
from tasks.monitor_bounds import judge
from tasks.monitor_params import Monitor

FIRST = date(2026, 11, 1)
PARAMS = Monitor()


def a_day(draw, number, *, n=400, liked=0.3, hour=12.0, seconds=30.0, videos=200):
    start = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=number)
    hours = np.clip(draw.normal(hour, 4, n), 0, 23.9)
    return pl.DataFrame(
        {
            "user_id": draw.integers(0, 50, n),
            "video_id": (draw.random(n) ** 2 * videos).astype(np.int64),
            "timestamp": [start + timedelta(hours=float(at)) for at in hours],
            "watch_seconds": draw.gamma(2, seconds / 2, n),
            "liked": draw.random(n) < liked,
            "region": draw.choice(["north", "south", "west"], n, p=[0.5, 0.3, 0.2]),
            "day": [FIRST + timedelta(days=number)] * n,
        }
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))


def trained(draw, days=10):
    events = pl.concat([a_day(draw, number) for number in range(days)])
    popularity = events.group_by("video_id").len().rename({"len": "video_popularity"})
    return events, popularity, Profile.of(events, popularity, usual_days=7)


def drifting(profile, events, popularity, day, params=PARAMS):
    found = profile.drift(day, popularity, events["video_id"].unique(), params)
    return {(each.what, each.statistic) for each in found if judge(each, params).word == "drift"}


def test_a_day_like_the_others_raises_few_alarms():
    draw = np.random.default_rng(0)
    events, popularity, profile = trained(draw)
    days = 200
    alarms = [drifting(profile, events, popularity, a_day(draw, 10, n=100)) for _ in range(days)]
    # six features of two figures each, at 1 % by chance alone; the set bounds lie higher
    assert sum(map(bool, alarms)) / days < 0.12
    steady = [drifting(profile, events, popularity, a_day(draw, 10)) for _ in range(50)]
    assert sum(map(bool, steady)) <= 1


@pytest.mark.parametrize(
    ("planted", "what"),
    [
        ({"liked": 0.8}, "liked"),
        ({"hour": 18.0}, "hour"),
        ({"seconds": 90.0}, "watch_seconds"),
        ({"videos": 2000}, "new_videos"),
    ],
)
def test_planted_drift_is_seen_where_it_is(planted, what):
    draw = np.random.default_rng(1)
    events, popularity, profile = trained(draw)
    seen = drifting(profile, events, popularity, a_day(draw, 10, **planted))
    assert {feature for feature, _ in seen} - {"video_popularity"} == {what}


def test_a_column_that_is_gone_is_drift():
    draw = np.random.default_rng(1)
    events, popularity, profile = trained(draw)
    gone = drifting(profile, events, popularity, a_day(draw, 10).drop("liked", "region"))
    assert gone == {(what, statistic) for what in ("liked", "region") for statistic in ("psi", "js")}


def test_figures_are_those_of_the_histograms():
    draw = np.random.default_rng(2)
    events, popularity, profile = trained(draw)
    day = a_day(draw, 10)
    found = {(each.what, each.statistic): each for each in profile.drift(day, popularity, events["video_id"], PARAMS)}
    new, old = (np.array([(~of["liked"]).sum(), of["liked"].sum(), 0]) for of in (day, events))
    assert found["liked", "psi"].observed == pytest.approx(stability_index(new, old))
    assert found["liked", "js"].observed == pytest.approx(jensen_shannon(new, old))
    shares = [of.filter(pl.col("liked")).height / of.height for of in events.partition_by("day")]
    assert found["liked", "psi"].usual > 0
    assert len(shares) == 10
    unseen = (~day["video_id"].is_in(events["video_id"].unique().implode())).mean()
    assert found["new_videos", "share"].observed == pytest.approx(unseen)


def test_a_profile_is_read_back_as_it_was():
    _, _, profile = trained(np.random.default_rng(2))
    assert Profile.read(profile.as_json()) == profile


def test_few_names_have_a_bin_and_the_others_share_one():
    draw = np.random.default_rng(2)
    events = trained(draw)[0].with_columns(region=pl.format("r{}", pl.col("video_id")))
    profile = Profile.of(events, pl.DataFrame({"video_id": [0], "video_popularity": [1]}), usual_days=7)
    region = profile.features["region"]
    assert (len(region.names), len(region.counts)) == (20, 22)
    assert sum(region.counts) == events.height
    told = pl.Series("value", [region.names[3], "elsewhere", None])
    assert np.flatnonzero(region.histogram(told)).tolist() == [3, 20, 21]


def test_one_day_of_training_tells_nothing_of_what_is_usual():
    events = a_day(np.random.default_rng(0), 0)
    profile = Profile.of(events, pl.DataFrame({"video_id": [0], "video_popularity": [1]}), usual_days=7)
    assert profile.usual_new == 0
    assert {feature.usual_psi for feature in profile.features.values()} == {0.0}


@pytest.mark.parametrize(
    ("figure", "bound", "of", "word"),
    [
        ({"observed": 0.3}, 0.2, "set", "drift"),
        ({"observed": 0.3, "usual": 0.25}, 0.25, "usual", "drift"),
        ({"observed": 0.3, "usual": 0.25, "noise": 0.4}, 0.4, "chance", "steady"),
        ({"observed": 0.2}, 0.2, "set", "steady"),
    ],
)
def test_the_largest_bound_counts(figure, bound, of, word):
    judged = judge(Drift(about="events", what="hour", statistic="psi", **figure), PARAMS)
    assert (judged.bound, judged.of, judged.word) == (bound, of, word)
