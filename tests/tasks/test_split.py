from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.sequences import Sequences
from tasks.params import Prepare
from tasks.split import (
    FOLD_IN,
    HOLDOUT,
    TRAIN,
    VALID,
    by_time,
    mixed,
    share_of,
    split_digest,
    split_positives,
    stable_hash,
)


def sequences(histories: Sequence[Sequence[int]], times: Sequence[int] | None = None) -> Sequences:
    offsets = np.cumsum([0, *map(len, histories)])
    videos = np.array([video for history in histories for video in history], np.int32)
    order = np.arange(len(videos)) if times is None else np.array(times)
    return Sequences(offsets.astype(np.int64), videos, order.astype(np.int64), np.ones(len(videos), np.float32))


def parts(
    of: Sequences, kind: str, *, holdout: float = 0.2, valid: float = 0.2, seed: int = 1, first_user: int = 0
) -> list[int]:
    viewers = pl.Series(range(first_user, first_user + of.n_viewers), dtype=pl.Int64)
    videos = pl.Series(range(100), dtype=pl.Int64)
    params = Prepare.model_validate({"split": kind, "holdout": holdout, "valid": valid})
    return split_positives(of, viewers, videos, params=params, seed=seed).tolist()


def test_time_holds_out_the_newest_of_all_viewers() -> None:
    of = sequences([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], times=[0, 2, 4, 6, 8, 1, 3, 5, 7, 9])
    # Times 8 and 9 are the newest fifth; 7 is the newest fifth of the other eight, rounded down.
    assert parts(of, "time") == [0, 0, 0, 0, 2, 0, 0, 0, 1, 2]


def test_equal_times_are_never_on_both_sides_of_a_cut() -> None:
    times = np.array([1, 2, 3, 4, 5, 5, 5, 9, 9, 9])
    assert by_time(times, holdout=0.1, valid=0.15).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_one_time_for_all_leaves_nothing_to_learn_from() -> None:
    assert set(by_time(np.full(9, 7), holdout=0.1, valid=0.1).tolist()) == {HOLDOUT}


def test_last_out_takes_one_and_one_of_viewers_with_three() -> None:
    assert parts(sequences([[1], [1, 2], [1, 2, 3], [4, 3, 2, 1]]), "last-out") == [0, 0, 0, 0, 1, 2, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("length", "held", "validated"), [(1, 0, 0), (2, 0, 0), (3, 1, 1), (5, 1, 1), (10, 2, 2), (20, 4, 3), (50, 10, 8)]
)
def test_random_takes_a_share_of_each_viewer(length: int, held: int, validated: int) -> None:
    found = parts(sequences([list(range(length))] * 3), "random")
    for viewer in range(3):
        its = found[viewer * length : (viewer + 1) * length]
        assert (its.count(HOLDOUT), its.count(VALID)) == (held, validated)


def test_of_held_out_viewers_nothing_is_learnt_and_a_fifth_judges() -> None:
    found = np.array(parts(sequences([list(range(10))] * 200), "viewers", holdout=0.3, valid=0.1)).reshape(200, 10)
    held_out = (found == HOLDOUT).any(axis=1)
    assert 40 <= held_out.sum() <= 80  # 60 expected, and 6.5 the standard deviation
    assert [sorted(row) for row in found[held_out]] == [[HOLDOUT] * 2 + [FOLD_IN] * 8] * int(held_out.sum())
    assert [sorted(row) for row in found[~held_out]] == [[TRAIN] * 9 + [VALID]] * int((~held_out).sum())
    assert len({tuple(row) for row in found[held_out].tolist()}) > 20  # chance says which, viewer by viewer


def test_who_is_held_out_depends_on_seed_and_viewer_alone() -> None:
    few, many = (parts(sequences([list(range(10))] * n), "viewers", holdout=0.3) for n in (50, 200))
    assert many[:500] == few
    assert parts(sequences([list(range(10))] * 50), "viewers", holdout=0.3, seed=2) != few


def test_of_a_held_out_viewer_with_one_positive_nothing_is_wanted() -> None:
    assert set(parts(sequences([[0]] * 50), "viewers", holdout=0.99)) == {TRAIN, FOLD_IN}


def test_a_large_share_still_leaves_one_to_learn_from() -> None:
    found = parts(sequences([[0, 1, 2], [0, 1, 2, 3]]), "random", holdout=0.9, valid=0.9)
    assert found[:3].count(TRAIN) == found[3:].count(TRAIN) == 1
    assert share_of(np.array([0, 1, 2, 3, 100]), 0.5, leaving=2).tolist() == [0, 0, 0, 1, 50]


def test_random_changes_with_seed_and_user_alone() -> None:
    of = sequences([list(range(50))])
    assert parts(of, "random", seed=1) == parts(of, "random", seed=1)
    assert parts(of, "random", seed=1) != parts(of, "random", seed=2)
    assert parts(of, "random", first_user=0) != parts(of, "random", first_user=1)
    assert parts(of, "random", seed=-1) != parts(of, "random", seed=1)


@given(st.permutations(range(30)), st.permutations(range(7)))
def test_random_and_its_digest_know_no_order_of_rows_or_vocabulary(order: list[int], vocabulary: list[int]) -> None:
    # The same 30 pairs of one viewer in another order; and 7 videos in another vocabulary order.
    params = Prepare(split="random")
    viewers, videos = pl.Series(["é"]), pl.Series([f"v{at}" for at in range(30)])
    plain, shuffled = sequences([list(range(30))]), sequences([order])
    first = split_positives(plain, viewers, videos, params=params, seed=3)
    second = split_positives(shuffled, viewers, videos, params=params, seed=3)
    assert dict(zip(order, second.tolist(), strict=True)) == dict(enumerate(first.tolist()))
    assert split_digest(plain, first, viewers, videos) == split_digest(shuffled, second, viewers, videos)
    small, renamed = sequences([list(range(7))]), sequences([[vocabulary.index(at) for at in range(7)]])
    names, kept = pl.Series(range(7)), np.array([0, 1, 2, 0, 1, 2, 0], np.uint8)
    assert split_digest(small, kept, viewers, names) == split_digest(
        renamed, kept, viewers, pl.Series(vocabulary, dtype=pl.Int64)
    )


def test_the_digest_tells_parts_ids_and_their_types_apart() -> None:
    of, kept = sequences([[0, 1]]), np.array([0, 2], np.uint8)
    one, two = pl.Series([1]), pl.Series([1, 2])
    digests = {
        split_digest(of, kept, one, two),
        split_digest(of, kept[::-1].copy(), one, two),
        split_digest(of, kept, one + 1, two),
        split_digest(of, kept, one, two + 1),
        split_digest(of, kept, one.cast(pl.String), two),
        split_digest(of, kept, one, two.cast(pl.String)),
    }
    assert len(digests) == 6


def test_hashes_never_change() -> None:
    assert mixed(np.zeros(1, np.uint64)).tolist() == [0xE220A8397B1DCDAF]  # SplitMix64's first output from seed 0
    assert stable_hash(pl.Series([0, 1, -1])).tolist() == [
        16294208416658607535,
        10451216379200822465,
        16490336266968443936,
    ]
    assert stable_hash(pl.Series(["", "a", "b", "ab", "ba", "日本"])).tolist() == [
        16294208416658607535,
        15874169703858053892,
        3820661591021561094,
        9000139759345050656,
        7120851143454922422,
        9251985694719363082,
    ]


@given(st.lists(st.text(max_size=5), unique=True, max_size=30))
def test_a_string_hashes_alike_in_any_company(texts: list[str]) -> None:
    together = stable_hash(pl.Series(texts, dtype=pl.String))
    alone = [int(stable_hash(pl.Series([text]))[0]) for text in texts]
    assert together.tolist() == alone
    assert len(set(alone)) == len(alone)
