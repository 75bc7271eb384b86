"""Requests and decisions proven again: whole, foreign, swapped, missing and made up."""

from pathlib import Path

import pytest

from infra.errors import Refused
from infra.settings import Settings
from lineage.approvals import Approvals
from lineage.books import Books
from lineage.verify_approvals import verify_approvals
from tests.lineage.test_approvals import asked


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Books with three requests, of which the first was approved and the third rejected."""
    books = Books(Settings(home=tmp_path), "reel", False)
    approvals = Approvals(books)
    first, _, third = (approvals.ask(asked(seq)) for seq in (1, 2, 3))
    approvals.decide(first, approved=True, by="ada", reason="yes")
    approvals.decide(third, approved=False, by="ada", reason="no")
    return books


@pytest.fixture
def folder(books: Books, tmp_path: Path) -> Path:
    """Where they stand."""
    return tmp_path / "store/approvals/reel"


def faults(books: Books) -> list[tuple[str, str]]:
    """What is found, without the folder."""
    return [(found.what.rpartition("/")[2], found.fault) for found in verify_approvals(books)]


def test_what_holds_is_no_finding(books: Books) -> None:
    assert faults(books) == []
    assert faults(Books(books.settings, "other", True)) == []


def test_a_request_that_is_missing(books: Books, folder: Path) -> None:
    (folder / "00000002.request.json").unlink()
    ((what, fault),) = faults(books)
    assert (what, "approvals/reel/00000002.request.json" in fault) == ("00000002", True)


def test_a_request_that_stands_under_another_number(books: Books, folder: Path) -> None:
    (folder / "00000004.request.json").write_bytes((folder / "00000001.request.json").read_bytes())
    copied = "approvals/reel/00000004.request.json is request 1 of reel, which does not belong there."
    assert faults(books) == [("00000004", copied)]
    with pytest.raises(Refused, match="which does not belong there"):
        Approvals(books).all()


def test_a_made_up_number_makes_no_long_search(books: Books, folder: Path) -> None:
    (folder / "99999999.decision.json").write_text("{}", encoding="utf-8")
    assert [what for what, _ in faults(books)] == ["00000004", "99999999"]


def test_a_decision_that_is_about_another_request(books: Books, folder: Path) -> None:
    (folder / "00000002.decision.json").write_bytes((folder / "00000001.decision.json").read_bytes())
    assert faults(books) == [("00000002", "The decision on request 2 of reel is about another request.")]


def test_a_decision_that_was_changed(books: Books, folder: Path) -> None:
    decision = folder / "00000003.decision.json"
    decision.write_bytes(decision.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    ((what, fault),) = faults(books)
    assert (what, fault.endswith("has a signature that does not fit its content: one of them was changed.")) == (
        "00000003",
        True,
    )


def test_those_of_a_key_that_nobody_trusts(books: Books, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    found = faults(Books(Settings(home=tmp_path / "elsewhere", store=store), "reel", False))
    assert [what for what, _ in found] == ["00000001", "00000002", "00000003"]
    assert all("which is not trusted here" in fault for _, fault in found)


def test_what_is_neither(books: Books, folder: Path) -> None:
    (folder / "note.json").write_text("{}", encoding="utf-8")
    assert faults(books) == [("note.json", "it is neither a request nor a decision")]
