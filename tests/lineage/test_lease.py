"""A lease on a folder and on a real S3 server: one holder at a time, tokens that only grow, few objects."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.locks import locked_if_free
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store
from lineage.holding import Busy, Held, holding
from lineage.lease import Lease, Leases, LostLease
from lineage.ledger import Draft, Ledger

SECONDS = 0.6
RELEASE = "a" * 64


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url, Settings())


def claim(leases: Leases, after: Lease | None, *, holder: str = "ada", above: int = 0) -> Lease | None:
    return leases.claim(after, holder=holder, lock="none.lock", work="the night", seconds=SECONDS, above=above)


def claimed(leases: Leases, *, holder: str = "ada") -> Lease:
    lease = claim(leases, leases.newest(), holder=holder)
    assert lease is not None
    return lease


def draft(fence: int | None, *, run: str = "night-1") -> Draft:
    return Draft(action="release", release=RELEASE, run=run, by="night", reason="passed the gate", fence=fence)


def test_a_lease_is_claimed_renewed_and_given_back_in_one_object(store: ObjectStore) -> None:
    leases = Leases(store, "movielens")
    assert leases.newest() is None
    first = claimed(leases)
    renewed = leases.renew(leases.renew(first))
    assert (first.seq, first.token, renewed.seq, renewed.token, renewed.held) == (1, 1, 3, 1, True)
    leases.end(renewed)
    assert list(store.keys("leases/")) == ["leases/movielens/00000004.json"]
    second = claimed(leases, holder="bo")
    assert (second.seq, second.token, second.holder) == (5, 5, "bo")
    assert list(store.keys("leases/")) == ["leases/movielens/00000005.json"]


def test_of_two_who_take_over_one_is_told_no(store: ObjectStore) -> None:
    leases = Leases(store, "movielens")
    ended = claimed(leases)
    assert claim(leases, ended, holder="bo") is not None
    assert claim(leases, ended, holder="cy") is None


def test_who_was_taken_over_from_can_neither_renew_nor_give_back_nor_publish(store: ObjectStore) -> None:
    leases, ledger = Leases(store, "movielens"), Ledger(store, "movielens")
    stopped = claimed(leases)
    leases.end(leases.renew(claimed(leases, holder="bo on host (process 7)")))  # the number after `stopped` is gone
    said = (
        r"^This run may not change what is live of movielens any more: its lease \(token 1\) had ended, and bo on host "
        r"\(process 7\) was given the next one \(token 2\), for the night\. Run it again: what it finished is found\.$"
    )
    for late in (leases.renew, leases.end):
        with pytest.raises(LostLease, match=said):
            late(stopped)
    with pytest.raises(LostLease, match=said):
        ledger.append(draft(1), after=None)
    assert list(ledger.entries()) == []
    assert list(store.keys("leases/")) == ["leases/movielens/00000004.json"]


def test_a_claim_that_comes_late_finds_that_its_number_was_used(store: ObjectStore) -> None:
    leases = Leases(store, "movielens")
    ended = claimed(leases)
    leases.end(leases.renew(claimed(leases, holder="bo")))
    assert claim(leases, ended, holder="cy") is None
    assert list(store.keys("leases/")) == ["leases/movielens/00000004.json"]


def test_when_the_states_are_lost_tokens_go_on_behind_the_ledger(store: ObjectStore) -> None:
    leases, ledger = Leases(store, "movielens"), Ledger(store, "movielens")
    head = ledger.append(draft(41), after=None)
    with pytest.raises(LostLease, match=r"token 40 of the lease of movielens may not follow entry 1.* token 41\.$"):
        ledger.append(draft(40, run="night-2"), after=head)
    lease = claim(leases, None, above=head.fence or 0)
    assert lease is not None
    assert ledger.append(draft(lease.token, run="night-2"), after=head).fence == 42


def test_people_need_no_lease_and_their_entries_keep_their_bytes(store: ObjectStore) -> None:
    claimed(Leases(store, "movielens"))
    entry = Ledger(store, "movielens").append(draft(None), after=None)
    assert b"fence" not in entry.encoded() + entry.signed_bytes()
    assert "fence" not in entry.model_dump()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["look", "claim", "renew", "end", "append"])), max_size=30)
)
def test_whatever_the_order_tokens_grow_and_the_ledger_never_goes_back(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """Four runs, each of which believes whenever it likes that the newest lease that it saw has ended."""
    store = FolderStore(tmp_path_factory.mktemp("store"))
    leases, ledger = Leases(store, "movielens"), Ledger(store, "movielens")
    seen: dict[int, Lease | None] = {}
    mine: dict[int, Lease] = {}
    given_out: list[int] = []
    for who, step in steps:
        if step == "look":
            seen[who] = leases.newest()
        elif step == "claim" and who in seen:
            if lease := claim(leases, seen[who], holder=str(who)):
                mine[who] = lease
                given_out.append(lease.token)
        elif who in mine and step == "append":
            newest = mine[who].token == given_out[-1]
            before = ledger.head()
            try:
                after = ledger.append(draft(mine[who].token, run=f"{who}-{len(given_out)}"), after=before)
                assert newest
                assert after.fence == mine[who].token
            except LostLease:
                assert not newest
        elif who in mine and step in ("renew", "end"):
            try:
                mine[who] = leases.renew(mine[who]) if step == "renew" else leases.end(mine[who]) or mine[who]
                assert mine[who].token == given_out[-1]
            except LostLease:
                assert mine.pop(who).token != given_out[-1]
    fences = [entry.fence or 0 for entry in ledger.entries()]
    assert given_out == sorted(set(given_out))
    assert fences == sorted(fences)


Hold = Callable[..., AbstractContextManager[Held]]


@pytest.fixture
def hold(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Hold the lease as a process whose state folder is `home` would."""
    monkeypatch.setenv("NIGHTREEL_LEASE_SECONDS", str(SECONDS))
    monkeypatch.setenv("NIGHTREEL_ACTOR", "tests")

    def hold(home: str, work: str = "the night", *, told: list[str] | None = None, waits: bool = True):  # type: ignore[no-untyped-def]
        said = told if told is not None else []
        settings = Settings(home=tmp_path / home)
        leases = Leases(store, "movielens")
        return holding(leases, work, settings, above=0, told=said.append, waits_for=lambda _: waits)

    return hold


def test_who_does_not_wait_is_told_with_whom_the_lease_is(hold: Hold) -> None:
    with (
        hold("a", "the night of 2026-11-22"),
        pytest.raises(
            Busy,
            match=r"^The lease of movielens is with tests on .+ \(process \d+\), for the night of 2026-11-22, until "
            r"....-..-.. ..:.. UTC or longer \(token 1\)\.$",
        ),
        hold("b", waits=False),
    ):
        pass


def test_a_lease_that_is_renewed_is_waited_for(hold: Hold) -> None:
    order: list[str] = []
    told: list[str] = []

    def second() -> None:
        with hold("b", told=told) as held:
            order.append(f"second has token {held.token > 1}")

    with hold("a"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(4 * SECONDS)
        order.append("first is done")
    waiting.join(timeout=30)
    assert order == ["first is done", "second has token True"]
    assert len(told) == 1
    assert told[0].startswith("waiting for the lease of movielens, which is with tests on ")


def test_one_that_is_not_renewed_is_taken_over_after_its_time(hold: Hold, store: ObjectStore) -> None:
    claimed(Leases(store, "movielens"), holder="bo on an other machine")
    told: list[str] = []
    started = time.monotonic()
    with hold("a", told=told) as held:
        assert time.monotonic() - started >= SECONDS
        assert held.token == 2
    assert told[1] == f"nothing was heard of bo on an other machine for {SECONDS} s: taking its lease over"


def test_who_does_not_wait_takes_over_from_one_that_is_not_heard_of(hold: Hold, store: ObjectStore) -> None:
    leases = Leases(store, "movielens")
    assert leases.claim(None, holder="bo elsewhere", lock="none.lock", work="the night", seconds=SECONDS)
    with hold("a", waits=False) as held:
        assert held.token == 2


def test_one_whose_holder_died_here_is_taken_over_at_once(hold: Hold, store: ObjectStore, tmp_path: Path) -> None:
    folder = tmp_path / "a/leases/movielens"
    leases = Leases(store, "movielens")
    with locked_if_free(folder / "dead.lock"):
        alive = leases.claim(None, holder="bo", lock="dead.lock", work="the night", seconds=3600)
        assert alive is not None
        with pytest.raises(Busy), hold("a", waits=False):
            pass
    told: list[str] = []
    with hold("a", told=told) as held:
        assert (held.token, told) == (2, [])
    assert list(folder.iterdir()) == []


def test_one_that_could_not_be_given_back_is_taken_over_here_at_once(tmp_path: Path) -> None:
    root, away = tmp_path / "store", tmp_path / "away"
    leases, settings = Leases(FolderStore(root), "movielens"), Settings(home=tmp_path / "home", lease_seconds=3600.0)

    def hold() -> AbstractContextManager[Held]:
        return holding(leases, "the night", settings, above=0, told=lambda _: None, waits_for=lambda _: False)

    with hold():
        root.rename(away)
        root.write_text("no store any more")
    root.unlink()
    away.rename(root)
    with hold() as held:
        assert held.token == 2


def test_who_lost_the_lease_hears_of_it(hold: Hold, store: ObjectStore) -> None:
    leases = Leases(store, "movielens")
    with hold("a") as held:
        held.check()
        while claim(leases, leases.newest(), holder="bo") is None:
            pass
        held._thread.join(timeout=30)
        with pytest.raises(LostLease, match="bo was given the next one"):
            held.check()
    newest = leases.newest()
    assert newest is not None
    assert (newest.holder, newest.held) == ("bo", True)


def test_of_many_at_once_one_works_at_a_time(hold: Hold, store: ObjectStore) -> None:
    at_work, most, tokens = 0, 0, []
    count = threading.Lock()

    def work(home: str) -> None:
        nonlocal at_work, most
        with hold(home) as held:
            with count:
                at_work += 1
                most = max(most, at_work)
                tokens.append(held.token)
            time.sleep(0.05)
            with count:
                at_work -= 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, ["a", "a", "b", "b", "c", "c"]))
    assert most == 1
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 6


@pytest.mark.parametrize("said", ["0", "-1", "soon", "inf", "nan"])
def test_a_lease_of_no_length_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.errors import BadInput

    monkeypatch.setenv("NIGHTREEL_LEASE_SECONDS", said)
    with pytest.raises(BadInput, match=f"^NIGHTREEL_LEASE_SECONDS must be a number above 0. Received: '{said}'$"):
        Settings()
