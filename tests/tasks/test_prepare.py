import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from infra.errors import Refused
from tasks.params import Grades, Positives, Prepare
from tasks.positives import context_codes, find_positives
from tasks.quarantine import EVENT_KEY, event_rules, separate
from tasks.split import HOLDOUT
from tests.tasks.raw_folder import NIGHT, NOON, Night, events, kuairand, movielens
from tests.tasks.sources import needs_kuairand

ALL = Prepare(min_viewer_events=1, min_holdout_viewers=1, split="last-out")
NOON_MS = int(NOON.timestamp() * 1000)


def accept(night: Night, *files: pl.DataFrame, videos: pl.DataFrame | None = None, as_of: date = NIGHT) -> Night:
    """Accepted tables as validate leaves them."""
    table = pl.concat(files)
    accepted = separate(table, event_rules(table.columns, as_of=as_of, known_videos=None), EVENT_KEY).accepted
    folder = night.root / "accepted"
    folder.mkdir(parents=True, exist_ok=True)
    accepted.write_parquet(folder / "events.parquet")
    catalogue = accepted.select(pl.col("video_id").unique().sort()) if videos is None else videos
    catalogue.write_parquet(folder / "videos.parquet")
    return night


def watched(*triples: tuple[int, int, int], **columns: Sequence[object]) -> pl.DataFrame:
    """Events (user, video, seconds after noon) with further columns."""
    return events(
        [
            {"user_id": user, "video_id": video, "timestamp": NOON + timedelta(seconds=at)}
            | {name: values[row] for name, values in columns.items()}
            for row, (user, video, at) in enumerate(triples)
        ]
    )


def test_a_small_example_by_hand(tmp_path: Path) -> None:
    log = watched((7, 30, 3), (5, 10, 0), (5, 20, 1), (5, 10, 2), (5, 40, 5), (7, 20, 2), (7, 10, 4))
    titles = pl.DataFrame({"video_id": [10, 20, 30, 40, 50], "title": ["ten", None, "日" * 10_000, "é", "unseen"]})
    left = accept(Night(tmp_path), log, videos=titles).prepare(ALL)
    assert left.viewers["user_id"].to_list() == [5, 7]
    assert left.videos.select("video_id", "title", "train_events").rows() == [
        (10, "ten", 1),
        (20, None, 1),
        (30, "日" * 10_000, 0),
        (40, "é", 0),
    ]
    assert (left.videos["first_seen"] - NOON_MS).to_list() == [0, 1000, 3000, 5000]
    assert left.sequences.offsets.tolist() == [0, 3, 6]
    assert left.sequences.videos.tolist() == [0, 1, 3, 1, 2, 0]
    assert (left.sequences.times - NOON_MS).tolist() == [0, 1000, 5000, 2000, 3000, 4000]
    assert left.sequences.weights.tolist() == [1.0] * 6
    assert left.split.tolist() == [0, 1, 2, 0, 1, 2]
    assert left.history().videos.tolist() == [0, 1, 1, 2]
    assert left.facts["now"] == NOON_MS + 2000
    assert left.facts["as_of"] == "2024-06-30"
    counts = json.loads((tmp_path / "prepare.json").read_text())
    assert {name: counts[name] for name in ("train", "valid", "holdout", "holdout_viewers", "events")} == {
        "train": 2,
        "valid": 2,
        "holdout": 2,
        "holdout_viewers": 2,
        "events": 6,
    }


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (Positives(), [1, 2, 3, 4, 5]),
        (Positives(liked=True), [1]),
        (Positives(rating_at_least=4.0), [2, 3]),
        (Positives(watch_ratio_at_least=0.5), [4]),
        (Positives(liked=True, rating_at_least=4.5), [1, 3]),
    ],
)
def test_which_events_are_positives(rules: Positives, kept: list[int]) -> None:
    log = watched(
        *((1, video, video) for video in range(7)),
        liked=[True, True, None, False, False, None, True],
        disliked=[True, False, None, False, None, False, True],
        rating=[5.0, 3.5, 4.0, 4.5, None, 1.0, 5.0],
        watch_seconds=[9.0, 1.0, 4.9, None, 5.0, 99.0, 9.0],
    )
    lengths = [10.0, 10.0, 10.0, 10.0, 10.0, 0.0, 10.0]
    videos = pl.DataFrame({"video_id": list(range(7)), "duration_seconds": lengths})
    params = Prepare(positives=rules, min_viewer_events=1)
    assert find_positives(log.lazy(), videos, params).videos.tolist() == kept


@pytest.mark.parametrize(
    ("grades", "weights"),
    [
        (Grades(), [1.0, 1.0, 1.0, 1.0]),
        (Grades(liked=0.5, shared=2.0, followed=9.0), [3.5, 1.0, 1.5, 1.0]),
        (Grades(rating=2.0), [4.0, 1.0, 1.0, 2.0]),
        (Grades(finished=1.0), [1.5, 2.0, 1.0, 1.0]),
    ],
)
def test_how_strong_a_positive_is(grades: Grades, weights: list[float]) -> None:
    log = watched(
        *((1, video, video) for video in range(4)),
        liked=[True, False, True, None],
        shared=[True, None, False, False],
        rating=[5.0, 3.5, None, 4.0],
        watch_seconds=[5.0, 99.0, 9.0, None],
    )
    videos = pl.DataFrame({"video_id": [0, 1, 2, 3], "duration_seconds": [10.0, 10.0, 0.0, 10.0]})
    rules = Positives(liked=True, rating_at_least=3.5)
    found = find_positives(log.lazy(), videos, Prepare(positives=rules, grades=grades, min_viewer_events=1))
    assert found.weights.tolist() == weights


def test_only_the_event_that_made_a_video_a_positive_says_how_strong_it_is() -> None:
    log = watched((1, 5, 0), (1, 5, 1), (1, 6, 2), shared=[False, True, True])
    videos = pl.DataFrame({"video_id": [5, 6]})
    found = find_positives(log.lazy(), videos, Prepare(grades=Grades(shared=1.0), min_viewer_events=1))
    assert (found.videos.tolist(), found.weights.tolist()) == ([0, 1], [1.0, 2.0])


def test_a_rule_on_a_column_that_is_not_there_never_holds(tmp_path: Path) -> None:
    night = accept(Night(tmp_path), watched((1, 1, 0), (2, 2, 0), (1, 2, 1)))
    with pytest.raises(Refused, match="Received: 0 viewers and 0 videos"):
        night.prepare(Prepare(positives=Positives(liked=True, watch_ratio_at_least=0.5)))


def test_rare_viewers_and_videos_leave_until_all_that_stay_are_frequent(tmp_path: Path) -> None:
    # Video 9 has one viewer; without it, viewer 3 has one positive; without that, video 3 has too few, and so on.
    log = watched(*((user, video, 0) for user in (1, 2) for video in (1, 2, 4)), (3, 9, 0), (3, 3, 1), (1, 3, 1))
    params = Prepare(min_viewer_events=2, min_video_events=2, min_holdout_viewers=1, split="last-out")
    left = accept(Night(tmp_path), log).prepare(params)
    assert left.viewers["user_id"].to_list() == [1, 2]
    assert left.videos["video_id"].to_list() == [1, 2, 4]


def test_a_user_with_one_event_stays_as_a_viewer_when_allowed(tmp_path: Path) -> None:
    left = accept(Night(tmp_path), watched((1, 1, 0), (1, 2, 1), (1, 3, 2), (2, 1, 0))).prepare(ALL)
    assert left.sequences.lengths.tolist() == [3, 1]
    assert left.split.tolist() == [0, 1, 2, 0]


def test_viewers_without_a_history_are_counted_and_do_not_judge(tmp_path: Path) -> None:
    log = watched((1, 1, 0), (1, 2, 1), (1, 3, 2), (1, 4, 9), (2, 1, 3), (2, 3, 9), (3, 2, 9))
    accept(Night(tmp_path), log).prepare(ALL.model_copy(update={"split": "time", "holdout": 0.4}))
    counts = json.loads((tmp_path / "prepare.json").read_text())
    assert (counts["holdout"], counts["holdout_viewers"], counts["holdout_viewers_without_history"]) == (3, 2, 1)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (watched((1, 1, 0), (1, 2, 1), (1, 3, 2)), "Received: 1 viewers and 3 videos"),
        (watched((1, 1, 0), (2, 1, 1), (3, 1, 2)), "Received: 3 viewers and 1 videos"),
        (watched((1, 1, 0), (2, 2, 0)), "The time split leaves nothing to learn from"),
    ],
)
def test_too_little_data_is_refused_in_a_sentence(tmp_path: Path, log: pl.DataFrame, sentence: str) -> None:
    night = accept(Night(tmp_path), log)
    with pytest.raises(Refused, match=sentence):
        night.prepare(ALL.model_copy(update={"split": "time"}))
    assert not (tmp_path / "prepared").exists()


TWO_BY_TWO = ((1, 1, 0), (1, 2, 1), (1, 3, 2), (2, 1, 0), (2, 2, 1), (2, 3, 2))


@pytest.mark.parametrize(
    ("rules", "columns"),
    [
        (Positives(), {"disliked": [True] * 6}),
        (Positives(liked=True), {"liked": [False] * 6}),
        (Positives(rating_at_least=3.5), {"rating": [0.5] * 6}),
        (Positives(rating_at_least=3.5), {}),
    ],
)
def test_where_nothing_is_a_positive_it_stops_in_one_sentence(
    tmp_path: Path, rules: Positives, columns: dict[str, list[object]]
) -> None:
    night = accept(Night(tmp_path), watched(*TWO_BY_TWO, **columns))
    sentence = r"^Too little to learn from: .* \(see prepare\.positives, .*\)\. Received: 0 viewers and 0 videos\.$"
    with pytest.raises(Refused, match=sentence):
        night.prepare(ALL.model_copy(update={"positives": rules}))


def test_where_everything_is_a_positive_all_of_it_is_learnt_from(tmp_path: Path) -> None:
    columns = {"liked": [True] * 6, "rating": [5.0] * 6}
    rules = {"positives": Positives(liked=True, rating_at_least=3.5)}
    left = accept(Night(tmp_path), watched(*TWO_BY_TWO, **columns)).prepare(ALL.model_copy(update=rules))
    assert left.sequences.videos.tolist() == [0, 1, 2] * 2
    assert left.split.tolist() == [0, 1, 2] * 2


def test_too_few_judging_viewers_are_refused(tmp_path: Path) -> None:
    night = accept(Night(tmp_path), watched((1, 1, 0), (1, 2, 1), (1, 3, 2), (2, 1, 0)))
    with pytest.raises(Refused, match=r"at least 2 \(prepare.min_holdout_viewers\).*last-out split. Received: 1"):
        night.prepare(ALL.model_copy(update={"min_holdout_viewers": 2}))


MOVIELENS = Prepare(positives=Positives(rating_at_least=3.5), min_viewer_events=3, split="last-out")


def test_movielens_last_out_has_exact_counts_and_one_digest(tmp_path: Path) -> None:
    ratings, films = movielens(tmp_path / "source")
    night = accept(Night(tmp_path), ratings, videos=films, as_of=date(2016, 10, 16))
    left = night.prepare(MOVIELENS)
    counts = json.loads((tmp_path / "prepare.json").read_text())
    assert (counts["viewers"], counts["videos"], counts["events"]) == (670, 6_993, 62_104)
    assert (counts["train"], counts["valid"], counts["holdout"]) == (60_764, 670, 670)
    assert counts["holdout_viewers"] == 670
    assert counts["split_digest"] == "2ddce69d5f8351f58a608513340906c8d46cffcd02f28b6390ba7678d86ab16a"
    assert left.facts["now"] == 1_476_623_282_000
    assert left.facts["split_digest"] == counts["split_digest"]


def test_movielens_last_out_agrees_with_plain_python(tmp_path: Path) -> None:
    ratings, films = movielens(tmp_path / "source")
    left = accept(Night(tmp_path), ratings, videos=films, as_of=date(2016, 10, 16)).prepare(MOVIELENS)
    histories: dict[int, list[int]] = {}
    liked = ratings.filter(pl.col("rating") >= 3.5).select("user_id", "timestamp", "video_id").rows()
    for user, _, video in sorted(liked, key=lambda row: row[:2]):
        histories.setdefault(user, []).append(video)
    kept = {user: history for user, history in histories.items() if len(history) >= 3}
    ids = left.videos["video_id"].to_numpy()
    assert left.viewers["user_id"].to_list() == sorted(kept)
    assert ids[left.sequences.videos].tolist() == [video for user in sorted(kept) for video in kept[user]]
    assert ids[left.holdout().videos].tolist() == [kept[user][-1] for user in sorted(kept)]
    assert ids[left.valid().videos].tolist() == [kept[user][-2] for user in sorted(kept)]


@pytest.mark.parametrize("kind", ["random", "time"])
def test_movielens_splits_know_no_order_of_rows(tmp_path: Path, kind: str) -> None:
    ratings, films = movielens(tmp_path / "source")
    params = MOVIELENS.model_copy(update={"split": kind, "min_holdout_viewers": 20})
    shuffled = ratings.sample(fraction=1.0, shuffle=True, seed=4)
    digests = [
        accept(Night(tmp_path / name), *files, videos=films, as_of=date(2016, 10, 16))
        .prepare(params)
        .facts["split_digest"]
        for name, files in {"a": [ratings], "b": [shuffled], "c": [ratings[60_000:], ratings[:60_000]]}.items()
    ]
    assert digests[0] == digests[1] == digests[2]


@needs_kuairand
def test_kuairand_by_time_cuts_every_viewer_at_one_instant(tmp_path: Path) -> None:
    log, videos = kuairand(tmp_path / "source")
    params = Prepare(positives=Positives(liked=True), split="time")
    left = accept(Night(tmp_path), log, videos=videos, as_of=date(2022, 4, 21)).prepare(params)
    times, held = left.sequences.times, left.split == HOLDOUT
    assert times[~held].max() < times[held].min()
    assert times[left.split == 0].max() < times[left.split == 1].min()
    liked = log.filter(pl.col("liked") & ~pl.col("disliked")).select("user_id", "video_id").n_unique()
    assert len(times) == liked
    assert held.sum() == pytest.approx(liked * 0.1, abs=2)
    assert np.all(np.diff(left.videos["first_seen"].to_numpy()) >= 0)


def test_importing_prepare_imports_no_pandas_and_no_tensorflow() -> None:
    heavy = "{'pandas', 'great_expectations', 'tensorflow', 'keras', 'mlflow'}"
    code = f"import sys, tasks.prepare; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_regions_and_devices_are_kept_by_a_number_of_their_names(tmp_path: Path) -> None:
    where = ["Wien", None, " ", "Graz", "Wien"]
    log = watched((1, 10, 0), (1, 20, 1), (1, 30, 2), (2, 10, 0), (2, 20, 4), region=where, device=[None] * 5)
    left = accept(Night(tmp_path), log).prepare(ALL)
    codes = left.sequences.contexts["region"]
    assert list(left.sequences.contexts) == ["region"]  # no device was ever told
    assert codes[0] == codes[4] != codes[3]
    assert (codes[[0, 3]] >= 0).all()
    assert codes[1:3].tolist() == [-1, -1]
    assert context_codes(pl.Series(["Graz", "Wien", "x"])).tolist()[:2] == codes[[3, 0]].tolist()
