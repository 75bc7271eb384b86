"""What is kept is the live release, the last that were live, those on hold, the young ones and what these need."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from lineage.retention import YOUNG, kept

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OLD = NOW - YOUNG
RELEASES = st.sampled_from("abcdefgh")


@given(
    lives=st.lists(RELEASES, max_size=12),
    stored=st.dictionaries(RELEASES, st.sampled_from([OLD, OLD + timedelta(seconds=1)])),
    keep=st.integers(0, 5),
    held=st.frozensets(RELEASES),
    trained=st.dictionaries(RELEASES, RELEASES),
)
def test_exactly_what_must_be_kept_is_kept(lives, stored, keep, held, trained):
    found = kept(lives, stored, keep=keep, held=held, trained=trained, now=NOW)
    live = {lives[-1]} & stored.keys() if lives else set()
    since = {release: max(at for at, one in enumerate(lives) if one == release) for release in lives}
    before = sorted((stored.keys() & since.keys()) - live, key=since.__getitem__, reverse=True)
    young = {release for release, at in stored.items() if release not in since and at > OLD}
    wanted = live | set(before[:keep]) | (held & stored.keys()) | young
    assert found.keys() == wanted | ({trained[one] for one in wanted & trained.keys()} & stored.keys())


def test_the_first_reason_is_given_and_every_release_once():
    stored = dict.fromkeys("abcdef", OLD) | {"e": NOW}
    found = kept("abcba", stored, keep=1, held={"a", "c", "f", "x"}, trained={"b": "d", "a": "b"}, now=NOW)
    assert found == {"a": "live", "b": "was live", "c": "hold", "f": "hold", "e": "young", "d": "needed by b"}
    assert list(found) == ["a", "b", "c", "f", "e", "d"]


def test_one_that_was_live_long_ago_is_not_young():
    assert kept("ab", {"a": NOW, "b": NOW}, keep=0, held=set(), trained={}, now=NOW) == {"b": "live"}
