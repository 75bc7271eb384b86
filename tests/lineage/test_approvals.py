"""Requests for approval: numbered once, decided once, believed only as they were signed; what became of each."""

from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import Refused
from infra.settings import Settings
from lineage.approvals import Approvals, Asked, Decision, State, asking, rejected, state_of
from lineage.books import Books
from lineage.ledger import Entry

NOW = datetime(2026, 11, 22, tzinfo=UTC)
BEFORE, AFTER = "2026-11-21T00:00:00.000000Z", "2026-11-23T00:00:00.000000Z"
OURS, OTHER = "a" * 64, "b" * 64


def asked(seq: int = 1, *, until: str = AFTER, champion: str | None = None) -> Asked:
    return Asked(
        seq=seq,
        name="reel",
        release=OURS,
        model_version="7",
        verdict="c" * 64,
        run="night",
        commit="d" * 40,
        champion=champion,
        after=0,
        at=BEFORE,
        until=until,
    )


def decided(*, approved: bool) -> Decision:
    return Decision(request="e" * 64, approved=approved, by="ada", reason="looked", at=BEFORE)


def entry(release: str) -> Entry:
    return Entry(action="promote", release=release, by="ada", reason="so", seq=1, previous=None, at=BEFORE)


@pytest.fixture
def approvals(tmp_path: Path) -> Approvals:
    return Approvals(Books(Settings(home=tmp_path), "reel", True))


@pytest.mark.parametrize(
    ("state", "known"),
    [
        ("waiting", {}),
        ("lapsed", {"until": BEFORE}),
        ("approved", {"decision": True}),
        ("approved", {"decision": True, "until": BEFORE}),  # in time, and carried out late
        ("declined", {"decision": False}),
        ("declined", {"decision": False, "newest": False}),
        ("superseded", {"newest": False}),
        ("superseded", {"newest": False, "decision": True}),
        ("overtaken", {"champion": OTHER}),
        ("overtaken", {"champion": OTHER, "decision": True}),
        ("overtaken", {"since": [entry(OTHER)], "champion": OTHER}),
        ("waiting", {"since": [entry(OTHER)]}),  # a refresh: the champion's model is the same
        ("released", {"since": [entry(OURS), entry(OTHER)], "decision": True}),  # and rolled back: once is once
    ],
)
def test_what_became_of_it(state: State, known: dict) -> None:
    answer = known.get("decision")
    found = state_of(
        asked(until=known.get("until", AFTER)),
        None if answer is None else decided(approved=answer),
        newest=known.get("newest", True),
        since=known.get("since", []),
        champion=known.get("champion"),
        now=NOW,
    )
    assert found == state


@given(st.booleans(), st.sampled_from([None, OURS, OTHER]), st.sampled_from([None, True, False]))
def test_only_a_decision_in_favour_of_the_newest_against_the_champion_goes_live(
    newest: bool, champion: str | None, answer: bool | None
) -> None:
    decision = None if answer is None else decided(approved=answer)
    found = state_of(asked(), decision, newest=newest, since=[], champion=champion, now=NOW)
    assert found in get_args(State)
    assert (found == "approved") == (newest and champion is None and answer is True)


def test_of_two_that_ask_at_once_one_is_the_newer(approvals: Approvals) -> None:
    assert [approvals.ask(asked(1)).seq for _ in range(3)] == [1, 2, 3]
    assert [each.seq for each in approvals.all()] == [1, 2, 3]
    assert asking(approvals._books.store) == ["reel"]


def test_the_first_decision_stays(approvals: Approvals) -> None:
    first = approvals.ask(asked())
    assert approvals.decision(first) is None
    no = approvals.decide(first, approved=False, by="ada", reason="no")
    assert approvals.decide(first, approved=True, by="bob", reason="yes") == no == approvals.decision(first)
    assert list(rejected(approvals)) == [(first, no)]


def test_a_record_counts_only_as_it_was_signed(approvals: Approvals, tmp_path: Path) -> None:
    first, second = approvals.ask(asked(1)), approvals.ask(asked(2))
    approvals.decide(first, approved=True, by="ada", reason="yes")
    folder = tmp_path / "store/approvals/reel"
    (folder / "00000002.decision.json").write_bytes((folder / "00000001.decision.json").read_bytes())
    with pytest.raises(Refused, match="The decision on request 2 of reel is about another request"):
        approvals.decision(second)
    foreign = Approvals(Books(Settings(home=tmp_path / "elsewhere", store=str(tmp_path / "store")), "reel", True))
    with pytest.raises(Refused, match=r"is signed by the key .* which is not trusted here"):
        foreign.all()
    request = folder / "00000001.request.json"
    request.write_bytes(request.read_bytes().replace(b'"payload":"', b'"payload":"e30K', 1))
    with pytest.raises(Refused):
        approvals.all()
