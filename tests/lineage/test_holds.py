"""Holds are signed, numbered, never removed, and where in doubt a release is held."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra.errors import BadInput, Refused
from infra.settings import Settings
from infra.stores import ObjectStore, open_store
from lineage.holds import Hold, Holds
from lineage.signing import Signer, Trust, Untrusted

SIGNER, STRANGER = (Signer(Ed25519PrivateKey.generate(), local=False) for _ in range(2))
TRUST = Trust({SIGNER.keyid: SIGNER.public}, required=False)
ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url, Settings())


@pytest.fixture
def holds(store: ObjectStore) -> Holds:
    return Holds(store, "reel", TRUST)


def hold(holds: Holds, release: str, signer: Signer = SIGNER) -> Hold:
    return holds.hold(release, signer=signer, by="ada", reason="case 12")


def lift(holds: Holds, release: str, signer: Signer = SIGNER) -> Hold:
    return holds.lift(release, signer=signer, by="bob", reason="settled")


def test_a_hold_stands_until_it_is_lifted_and_both_stay_on_record(holds: Holds, store: ObjectStore) -> None:
    first = hold(holds, ONE)
    assert hold(holds, ONE) == first
    hold(holds, TWO)
    assert holds.standing().keys() == {ONE, TWO}
    lift(holds, ONE)
    assert holds.standing().keys() == {TWO}
    again = hold(holds, ONE)
    assert holds.standing() == {ONE: again, TWO: holds.all()[1]}
    assert [(one.seq, one.release, one.action, one.by, one.reason) for one in holds.all()] == [
        (1, ONE, "hold", "ada", "case 12"),
        (2, TWO, "hold", "ada", "case 12"),
        (3, ONE, "lift", "bob", "settled"),
        (4, ONE, "hold", "ada", "case 12"),
    ]
    assert list(store.keys("holds/")) == [f"holds/reel/{seq:08d}.json" for seq in range(1, 5)]


def test_what_is_not_held_is_not_freed_and_a_reason_is_asked_for(holds: Holds) -> None:
    with pytest.raises(BadInput, match=r"^Only a release on hold can be freed\. Received: 111111111111, which is not"):
        lift(holds, ONE)
    with pytest.raises(BadInput, match=r"^Whoever holds a release, or frees it, gives a reason"):
        holds.hold(ONE, signer=SIGNER, by="ada", reason=" ")
    assert holds.all() == []


def test_a_stranger_may_hold_and_may_not_lift(
    holds: Holds, store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    hold(holds, ONE, STRANGER)
    assert holds.standing().keys() == {ONE}
    assert "is kept to all the same" in caplog.text
    lift(holds, ONE, STRANGER)
    with pytest.raises(Untrusted, match=r"^The hold holds/reel/00000002\.json is signed by the key"):
        holds.standing()
    with pytest.raises(Untrusted, match=r"^The hold holds/reel/00000001\.json is signed by the key"):
        Holds(store, "reel", Trust(TRUST.keys, required=True)).standing()


def test_a_record_that_was_taken_away_or_put_elsewhere_is_found(holds: Holds, store: ObjectStore) -> None:
    for release in (ONE, TWO):
        hold(holds, release)
    second = store.get("holds/reel/00000002.json")
    store.delete("holds/reel/00000001.json")
    with pytest.raises(Refused, match=r"^Hold 1 of reel is missing, although later ones exist"):
        holds.standing()
    store.put_if_absent("holds/reel/00000001.json", second)
    with pytest.raises(Refused, match=r"^The hold holds/reel/00000001\.json says that it is hold 2 of reel"):
        holds.standing()


def test_what_is_no_record_is_told(holds: Holds, store: ObjectStore) -> None:
    payload = json.dumps({"release": ONE}).encode()
    envelope = SIGNER.envelope(payload, payload_type="application/vnd.nightreel.hold+json")
    store.put_if_absent("holds/reel/00000001.json", envelope)
    with pytest.raises(Refused, match=r"^The hold holds/reel/00000001\.json cannot be read: Field required"):
        holds.standing()


def test_holds_of_two_recommenders_are_apart(holds: Holds, store: ObjectStore, tmp_path: Path) -> None:
    hold(holds, ONE)
    assert Holds(store, "reel-2", TRUST).standing() == {}
