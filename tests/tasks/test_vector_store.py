import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import Refused
from infra.settings import Settings
from infra.stores import FolderStore, open_store
from tasks.vector_store import VectorStore, content_keys

ENCODER = "ab" * 32
OTHER = "cd" * 32


def keys_of(*texts):
    return content_keys([hashlib.sha256(text.encode()).hexdigest() for text in texts])


class Counting:
    """Encodes a key as its first two bytes, and remembers what it was asked for."""

    def __init__(self, keys, *, refuse=()):
        self.keys, self.refuse, self.asked = keys, refuse, []

    def __call__(self, places):
        self.asked += [int(at) for at in places]
        vectors = np.array([[key[0], key[1]] for key in self.keys[places].tolist()], np.float32)
        failures = {int(at): "it is broken" for at in places if int(at) in self.refuse}
        vectors[[n for n, at in enumerate(places) if int(at) in self.refuse]] = np.nan
        return vectors, failures


@pytest.fixture
def vectors(tmp_path):
    return VectorStore(FolderStore(tmp_path / "store"), tmp_path / "cache")


def test_what_is_known_is_never_encoded_again(vectors):
    first = Counting(keys_of("a", "b", "a"))
    vectors.fill(ENCODER, 2, first.keys, first)
    assert sorted(first.asked) == [0, 1]
    again = Counting(keys_of("b", "c", "a"))
    known = vectors.fill(ENCODER, 2, again.keys, again)
    assert again.asked == [1]
    assert known.take(known.rows(again.keys)).tolist() == [[key[0], key[1]] for key in again.keys.tolist()]


def test_another_encoder_shares_nothing(vectors):
    keys = keys_of("a")
    vectors.fill(ENCODER, 2, keys, Counting(keys))
    assert vectors.known(OTHER, 2).rows(keys).tolist() == [-1]


def test_a_failure_is_remembered_with_its_reason(vectors):
    keys = keys_of("a", "b")
    vectors.fill(ENCODER, 2, keys, Counting(keys, refuse=(1,)))
    again = Counting(keys)
    known = vectors.fill(ENCODER, 2, keys, again)
    assert again.asked == []
    assert known.failures == {keys[1].hex(): "it is broken"}
    assert np.isnan(known.take(known.rows(keys))[1]).all()


def test_a_killed_run_loses_one_shard_at_most(vectors):
    keys = keys_of(*"abcdef")

    def killed(places):
        if len(done.asked) >= 4:
            raise KeyboardInterrupt
        return done(places)

    done = Counting(keys)
    with pytest.raises(KeyboardInterrupt):
        vectors.fill(ENCODER, 2, keys, killed, rows_a_shard=2)
    rest = Counting(keys)
    vectors.fill(ENCODER, 2, keys, rest, rows_a_shard=2)
    assert len(rest.asked) == 2
    assert sorted(done.asked + rest.asked) == [0, 1, 2, 3, 4, 5]


def test_another_machine_finds_them(store_url, tmp_path):
    here, there = (VectorStore(open_store(store_url, Settings()), tmp_path / name) for name in ("here", "there"))
    keys = keys_of("a", "b")
    made = here.fill(ENCODER, 2, keys, Counting(keys))
    elsewhere = there.known(ENCODER, 2)
    assert elsewhere.take(np.arange(2)).tobytes() == made.take(np.arange(2)).tobytes()
    assert elsewhere.keys.tobytes() == made.keys.tobytes()


def test_a_damaged_shard_is_refused_and_its_copy_dropped(vectors, tmp_path):
    keys = keys_of("a")
    vectors.fill(ENCODER, 2, keys, Counting(keys))
    copy = next((tmp_path / "cache").iterdir())
    copy.write_bytes(copy.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(Refused, match="are damaged: their digest differs"):
        vectors.known(ENCODER, 2)
    assert vectors.known(ENCODER, 2).rows(keys).tolist() == [0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.lists(st.binary(min_size=32, max_size=32)))
def test_rows_are_found_exactly_where_they_are(tmp_path_factory, stored, asked):
    folder = tmp_path_factory.mktemp("store")
    keys = content_keys([key.hex() for key in stored])
    wanted = content_keys([key.hex() for key in [*asked, *stored]])
    known = VectorStore(FolderStore(folder), folder / "cache").fill(
        ENCODER, 1, keys, lambda places: (np.ones((len(places), 1), np.float32), {})
    )
    assert (known.rows(wanted) >= 0).tolist() == [key in stored for key in [*asked, *stored]]
