"""Erasures, holds and retirements that were dropped, moved or signed by others are found."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.settings import Settings
from lineage.books import Books
from lineage.erasure import ErasureKey, Erasures
from lineage.holds import Holds
from lineage.retirement import retire
from lineage.signing import Signer
from lineage.verify_erasures import verify_erasures, verify_holds, verify_retirement

KEY = ErasureKey(bytes(32))
STRANGER = Signer(Ed25519PrivateKey.generate(), local=False)
ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(Settings(home=tmp_path), "reel", require_signature=False)


def record(books: Books, *users: str, signer: Signer | None = None) -> None:
    for user in users:
        Erasures(books.store, "reel").record(
            user, key=KEY, signer=signer or books.signer, trust=books.trust, by="ada", reason="asked"
        )


def erasure(number: int) -> str:
    return f"erasures/reel/{number:08d}.json"


def test_what_holds_is_not_told_of(books: Books) -> None:
    record(books, "7", "8")
    retire(books.store, books.signer, ONE, by="ada", reason="erasure 1")
    assert list(verify_erasures(books)) == []
    assert [*verify_retirement(books, ONE), *verify_retirement(books, TWO)] == []


def test_erasures_that_are_foreign_moved_or_dropped_are_found(books: Books) -> None:
    record(books, "7")
    record(books, "8", signer=STRANGER)
    record(books, "9")
    books.store.delete(erasure(1))
    books.store.put_if_absent(erasure(4), books.store.get(erasure(3)))
    found = {one.what: one.fault for one in verify_erasures(books)}
    assert sorted(found) == [erasure(1), erasure(2), erasure(4)]
    assert found[erasure(1)] == "it is missing"
    assert f"is signed by the key {STRANGER.keyid[:12]}, which is not trusted here" in found[erasure(2)]
    assert found[erasure(4)] == f"The erasure {erasure(4)} says that it is erasure 3 of reel."


def test_holds_that_are_foreign_or_dropped_are_found(books: Books) -> None:
    holds = Holds(books.store, "reel", books.trust)
    for release, signer in ((ONE, books.signer), (TWO, STRANGER)):
        holds.hold(release, signer=signer, by="ada", reason="case 12")
    (foreign,) = verify_holds(books)
    assert (foreign.kind, foreign.what) == ("hold", "holds/reel/00000002.json")
    books.store.delete("holds/reel/00000001.json")
    assert [one.fault for one in verify_holds(books) if one.what.endswith("1.json")] == ["it is missing"]


def test_a_retirement_that_is_foreign_or_anothers_is_found(books: Books) -> None:
    retire(books.store, STRANGER, ONE, by="eve", reason="x")
    retire(books.store, books.signer, TWO, by="ada", reason="erasure 1")
    books.store.put_if_absent(f"retired/{'3' * 64}.json", books.store.get(f"retired/{TWO}.json"))
    (foreign,) = verify_retirement(books, ONE)
    (moved,) = verify_retirement(books, "3" * 64)
    assert "which is not trusted here" in foreign.fault
    assert (moved.kind, moved.fault) == ("retirement", f"it is that of release {TWO}")
