"""Which positives are learnt from, which stop a training, and which judge it."""

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.hashing import mixed
from models.sequences import Sequences
from tasks.params import Prepare

TRAIN, VALID, HOLDOUT, FOLD_IN = 0, 1, 2, 3
WANTED = 0.2  # share of a held-out viewer's positives that judge; the others are folded in
FEWEST = 3  # positives of a viewer from which one can be held out, one validated on and one learnt from


def split_positives(
    sequences: Sequences, viewers: pl.Series, videos: pl.Series, *, params: Prepare, seed: int
) -> NDArray[np.uint8]:
    """The part of each positive, as `params.split` says.

    Args:
        sequences: all positives, oldest first within a viewer.
        viewers: `[viewers]` ids.
        videos: `[videos]` ids.
        params: the kind of split and its shares.
        seed: of the splits `random` and `viewers`; the others have no chance in them.

    Returns:
        `[events]` uint8: `TRAIN`, `VALID` or `HOLDOUT`; in the split `viewers` also `FOLD_IN`.
    """
    if params.split == "time":
        return by_time(sequences.times, holdout=params.holdout, valid=params.valid)
    place = np.arange(len(sequences.videos)) - np.repeat(sequences.offsets[:-1], sequences.lengths)
    if params.split == "last-out":
        one = np.where(sequences.lengths >= FEWEST, 1, 0)
        return _last(place, sequences, holdout=one, valid=one)
    chance = mixed(stable_hash(viewers) ^ np.uint64(seed % 2**64))
    place = _shuffled(place, sequences, chance, stable_hash(videos))
    if params.split == "viewers":
        return by_viewer(place, sequences, chance < np.uint64(params.holdout * 2**64), valid=params.valid)
    held = share_of(sequences.lengths, params.holdout, leaving=2)
    rest = np.where(held > 0, sequences.lengths - held, 0)
    return _last(place, sequences, holdout=held, valid=share_of(rest, params.valid, leaving=1))


def by_viewer(
    place: NDArray[np.int64], sequences: Sequences, held_out: NDArray[np.bool_], *, valid: float
) -> NDArray[np.uint8]:
    """Strong generalisation: nothing of the viewers `held_out` `[viewers]` is learnt from.

    The last fifth of what each of them has judges, in the order of `place` `[events]`; the rest is known when they are
    recommended to (fold-in). Liang et al., Variational autoencoders for collaborative filtering, WWW 2018.
    """
    wanted = np.where(held_out, share_of(sequences.lengths, WANTED, leaving=1), 0)
    stopping = np.where(held_out, 0, share_of(sequences.lengths, valid, leaving=1))
    parts = _last(place, sequences, holdout=wanted, valid=stopping)
    parts[(parts == TRAIN) & np.repeat(held_out, sequences.lengths)] = FOLD_IN
    return parts


def by_time(times: NDArray[np.int64], *, holdout: float, valid: float) -> NDArray[np.uint8]:
    """The newest `holdout` share of all positives is held out, then the newest `valid` share of the rest validates.

    Positives of one time stay together, in the later part: that part is at least its share.
    """
    parts = np.full(len(times), TRAIN, np.uint8)
    parts[times >= _cut(times, holdout)] = HOLDOUT
    rest = times[parts == TRAIN]
    if len(rest):
        parts[(parts == TRAIN) & (times >= _cut(rest, valid))] = VALID
    return parts


def share_of(lengths: NDArray[np.int64], share: float, *, leaving: int) -> NDArray[np.int64]:
    """How many of each viewer's `lengths` `[viewers]` positives a `share` is: rounded, at least one.

    At least `leaving` stay; from a viewer who has no more than these, none is taken.
    """
    wanted = np.maximum(np.floor(lengths * share + 0.5).astype(np.int64), 1)
    taken: NDArray[np.int64] = np.minimum(wanted, np.maximum(lengths - leaving, 0))
    return taken


def stable_hash(ids: pl.Series) -> NDArray[np.uint64]:
    """`[n]` uint64 hashes of integer or string ids: the same on every machine and with every version.

    Strings hash as polynomials of their UTF-8 bytes modulo 2^64.
    """
    if ids.dtype != pl.String:
        return mixed(ids.to_numpy().astype(np.int64).view(np.uint64))
    lengths = ids.str.len_bytes().to_numpy().astype(np.int64)
    text = np.frombuffer("".join(ids).encode(), np.uint8)
    starts = np.cumsum(lengths) - lengths
    powers = np.multiply.accumulate(np.full(lengths.max(initial=0) + 1, 0x9E3779B97F4A7C15, np.uint64))
    terms = (text + np.uint64(1)) * powers[np.arange(len(text)) - np.repeat(starts, lengths)]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    return mixed(sums[starts + lengths] - sums[starts])


def split_digest(sequences: Sequences, parts: NDArray[np.uint8], viewers: pl.Series, videos: pl.Series) -> str:
    """SHA-256 of the set of (user id, video id, part): equal for equal splits, whatever order rows or files had.

    Args:
        sequences: all positives, each video at most once a viewer.
        parts: `[events]` uint8.
        viewers: `[viewers]` ids, sorted.
        videos: `[videos]` ids in vocabulary order.
    """
    by_id = videos.arg_sort()
    rank = np.empty(len(videos), np.int64)
    rank[by_id.to_numpy()] = np.arange(len(videos))
    pair = sequences.viewer_of_event() * len(videos) + rank[sequences.videos]
    order = np.argsort(pair)
    digest = hashlib.sha256()
    for ids in (viewers, videos[by_id]):
        digest.update(f"{'text' if ids.dtype == pl.String else 'int'} {len(ids)}\n".encode())
        digest.update(_canonical(ids))
    digest.update(pair[order].astype("<i8").tobytes())
    digest.update(parts[order].tobytes())
    return digest.hexdigest()


def _canonical(ids: pl.Series) -> bytes:
    if ids.dtype != pl.String:
        return ids.to_numpy().astype("<i8").tobytes()
    return ids.str.len_bytes().to_numpy().astype("<i8").tobytes() + "".join(ids).encode()


def _shuffled(
    place: NDArray[np.int64], sequences: Sequences, viewers: NDArray[np.uint64], videos: NDArray[np.uint64]
) -> NDArray[np.int64]:
    # `place` dealt anew within each viewer, by the hashes of viewer and video
    viewer = sequences.viewer_of_event()
    chance = mixed(viewers[viewer] ^ videos[sequences.videos])
    dealt = place.copy()
    dealt[np.lexsort((sequences.videos, chance, viewer))] = place
    return dealt


def _cut(times: NDArray[np.int64], share: float) -> np.int64:
    at = len(times) - max(1, int(len(times) * share))
    cut: np.int64 = np.partition(times, at)[at]
    return cut


def _last(
    place: NDArray[np.int64], sequences: Sequences, *, holdout: NDArray[np.int64], valid: NDArray[np.int64]
) -> NDArray[np.uint8]:
    # `place`: [events] place of each positive within its viewer; the last `holdout` [viewers] of them are held out.
    from_end = np.repeat(sequences.lengths, sequences.lengths) - place
    held = np.repeat(holdout, sequences.lengths)
    parts = np.full(len(place), TRAIN, np.uint8)
    parts[from_end <= held + np.repeat(valid, sequences.lengths)] = VALID
    parts[from_end <= held] = HOLDOUT
    return parts
