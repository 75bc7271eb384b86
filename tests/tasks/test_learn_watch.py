import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from models.params import Learn, TunedTextParams
from models.tuning import split_by_key
from tasks.learn import learn
from tasks.learn_checks import judge_partners
from tasks.learn_job import Job, NothingToLearn
from tasks.learn_watch import ByWatching, watched_pairs
from tasks.params import Text
from tasks.prepared import Prepared
from tasks.split import HOLDOUT, TRAIN
from tests.models.encoders.test_text_folder import tiny_bert
from tests.tasks.prepared_folder import leave_prepared, sequences

PARAMS = TunedTextParams(
    task="watch", mode="top", layers=1, max_tokens=8, epochs=1, head_epochs=3, min_pairs=2, valid=0.3, held_out=0.3
)
VIDEOS = 40


def test_a_viewers_neighbours_are_pairs_and_viewers_do_not_meet():
    pairs = watched_pairs(sequences([3, 1, 2], [], [0], [2, 2, 5]), seed=0)
    np.testing.assert_array_equal(pairs, [[3, 1], [1, 2], [2, 5]])


def test_what_was_watched_at_one_time_has_no_order_of_its_own(tmp_path):
    prepared = leave_prepared(tmp_path, [list(range(8))], [[TRAIN] * 8], times=[0] * 8)
    one, two = (watched_pairs(prepared.train(), seed=seed) for seed in (0, 1))
    assert not np.array_equal(one, two)
    np.testing.assert_array_equal(one, watched_pairs(prepared.train(), seed=0))
    assert sorted({*one[:, 0], *one[:, 1]}) == list(range(8))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Forty viewers who each watch all videos in an order of their own; the last is held out."""
    rng = np.random.default_rng(0)
    watched = [rng.permutation(VIDEOS).tolist() for _ in range(40)]
    folder = tmp_path_factory.mktemp("prepared")
    leave_prepared(folder, watched, [[TRAIN] * (VIDEOS - 1) + [HOLDOUT]] * 40, ids=list(range(1000, 1000 + VIDEOS)))
    return folder


def of(prepared, rows, **params):
    params = PARAMS.model_copy(update=params)
    return ByWatching.of(pl.DataFrame({"video_id": rows}), prepared, what="titles", params=params, seed=0)


def test_pairs_are_of_the_videos_that_are_there_and_of_one_part(prepared):
    ids = [*(str(video) for video in range(1000, 1000 + VIDEOS - 3)), "unwatched"]
    task = of(prepared, ids)
    parts = split_by_key(ids, valid=0.3, held_out=0.3)
    np.testing.assert_array_equal(task.held_out, parts.held_out)
    for examples, part in ((task.goal.train, parts.train), (task.goal.valid, parts.valid)):
        assert np.isin(np.stack(list(examples.sides.values())), part).all()
        assert not np.isin(ids.index("unwatched"), np.stack(list(examples.sides.values())))
    assert 0 <= task.pairs.min() <= task.pairs.max() < len(parts.held_out)


def test_a_pair_stands_for_the_videos_that_were_watched(prepared):
    ids = [str(video) for video in range(1000, 1000 + VIDEOS)]
    task = of(prepared, ids)
    first, second = ([int(ids[row]) - 1000 for row in task.goal.train.sides[side]] for side in ("first", "second"))
    known = {tuple(pair) for pair in watched_pairs(Prepared(prepared).train(), seed=0).tolist()}
    assert set(zip(first, second, strict=True)) <= known


def test_too_few_pairs_are_told(prepared):
    with pytest.raises(NothingToLearn, match=r"Each part must have 100000 pairs that were watched\. Received: \d+, "):
        of(prepared, [str(video) for video in range(1000, 1000 + VIDEOS)], min_pairs=100_000)
    with pytest.raises(NothingToLearn, match="Received: 0, 0 and 0 of 0 videos with titles"):
        of(prepared, pl.Series([], dtype=pl.String))


@pytest.fixture(scope="module")
def job(prepared, tmp_path_factory):
    root = tmp_path_factory.mktemp("watch")
    words = ["night", "reel", "alien", "night reel", "reels night"]
    rows = {"video_id": list(range(1000, 1000 + VIDEOS)), "title": [words[at % 5] for at in range(VIDEOS)]}
    pl.DataFrame(rows).write_parquet(root / "catalogue.parquet")
    return Job(
        clips=root / "clips",
        catalogue=root / "catalogue.parquet",
        prepared=prepared,
        out=root / "out",
        params=Learn(tuned_text=PARAMS),
        text=Text(model=str(tiny_bert(root / "bert")), max_tokens=16),
        frames=None,
        seed=0,
        checkpoints=root / "checkpoints",
        cache=root / "cache",
    )


def test_a_text_encoder_is_tuned_on_what_is_watched_and_judged_by_partners(job, tmp_path):
    figures = learn("tuned-text", job, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == figures
    assert (figures["task"], figures["mode"]) == ("watch", "top")
    assert {check["name"] for check in figures["checks"]} >= {"same pairs", "recall_at_10", "encoder mrr", "finite"}
    assert figures["measure"]["pairs"] == figures["baseline"]["pretrained"]["pairs"] > 0
    assert 0 < figures["measure"]["encoder"]["mrr"] <= 1
    assert {file.name for file in job.out.iterdir()} >= {"model.safetensors", "head.safetensors"}
    assert not job.checkpoints.exists()


def test_a_catalogue_without_titles_is_told(job, tmp_path):
    pl.DataFrame({"video_id": [1000, 1001]}).write_parquet(tmp_path / "catalogue.parquet")
    bare = replace(job, catalogue=tmp_path / "catalogue.parquet", out=tmp_path / "out")
    figures = learn("tuned-text", bare, tmp_path / "m.json")
    assert not figures["passed"]
    assert figures["checks"][0]["reason"].startswith("Each part must have 2 pairs that were watched. Received: 0, 0")
    assert list(bare.out.iterdir()) == []


FIGURES = {"recall_at_10": 0.5, "mrr": 0.3, "pairs": 40.0}
UNIT = np.eye(3, 4, dtype=np.float32)


def verdict(tuned=FIGURES, encoder=FIGURES, pretrained=FIGURES, vectors=UNIT, dim=4):
    told = judge_partners(tuned, encoder, pretrained, vectors=vectors, dim=dim, margin=0.01)
    return told["passed"], [check["name"] for check in told["checks"] if not check["passed"]]


def test_an_encoder_that_lost_no_more_than_the_margin_passes():
    assert verdict() == (True, [])
    assert verdict(encoder=FIGURES | {"mrr": 0.291}) == (True, [])
    assert verdict(encoder=FIGURES | {"mrr": 0.289}) == (False, ["encoder mrr"])
    assert verdict(tuned=FIGURES | {"recall_at_10": 0.4}) == (False, ["recall_at_10"])


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"tuned": None}, ["same pairs", "recall_at_10", "mrr"]),
        ({"encoder": {}}, ["same pairs", "encoder recall_at_10", "encoder mrr"]),
        ({"pretrained": None}, ["same pairs", "recall_at_10", "mrr", "encoder recall_at_10", "encoder mrr"]),
        ({"tuned": FIGURES | {"mrr": float("nan")}}, ["mrr"]),
        ({"tuned": FIGURES | {"pairs": 39.0}}, ["same pairs"]),
        ({"vectors": None}, ["dimension", "finite", "unit length"]),
        ({"vectors": UNIT * np.nan}, ["finite", "unit length"]),
        ({"dim": 5}, ["dimension"]),
    ],
)
def test_the_gate_of_what_is_watched_fails_closed(changes, fails):
    assert verdict(**changes) == (False, fails)


def test_no_pairs_are_no_pass():
    none = {"recall_at_10": 0.5, "mrr": 0.5, "pairs": 0.0}
    assert verdict(none, none, none)[1] == ["same pairs"]
