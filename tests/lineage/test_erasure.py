"""Erasures: recorded once, signed, found again by whoever has the key and by nobody else."""

import hashlib
import hmac
import json
import stat
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from infra.errors import BadInput, Refused
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store
from lineage.erasure import ERASURE_TYPE, Erased, Erasure, ErasureKey, Erasures, erasure_key, make_erasure_key
from lineage.signing import Signer, Trust, Untrusted

SIGNER = Signer(Ed25519PrivateKey.generate(), local=True)
TRUST = Trust({SIGNER.keyid: SIGNER.public}, required=True)
KEY = ErasureKey(bytes(range(32)))


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url, Settings())


def record(store: ObjectStore, user: str, *, key: ErasureKey = KEY, reason: str = "asked for it") -> Erasure:
    return Erasures(store, "reel").record(user, key=key, signer=SIGNER, trust=TRUST, by="ada", reason=reason)


def test_a_record_names_nobody_and_is_made_once(store: ObjectStore) -> None:
    first, again, other = record(store, "v-1"), record(store, "v-1", reason="again"), record(store, "v-2")
    assert (first.seq, other.seq, again) == (1, 2, first)
    assert list(store.keys("")) == ["erasures/reel/00000001.json", "erasures/reel/00000002.json"]
    payload, keyid = TRUST.open(store.get("erasures/reel/00000001.json"), payload_type=ERASURE_TYPE, what="it")
    kept = json.loads(payload)
    assert keyid == SIGNER.keyid
    assert kept["subject"] == hmac.new(bytes(range(32)), b"reel\0v-1", hashlib.sha256).hexdigest()
    assert kept["key_id"] == hashlib.sha256(bytes(range(32))).hexdigest()[:16]
    assert (kept["name"], kept["seq"], kept["by"], kept["reason"]) == ("reel", 1, "ada", "asked for it")
    assert sorted(kept) == ["at", "by", "key_id", "name", "reason", "seq", "subject"]
    assert b"v-1" not in payload


def test_the_erased_are_found_among_others(tmp_path: Path) -> None:
    store, settings = FolderStore(tmp_path), Settings(home=tmp_path, erasure_key=SecretStr(KEY.secret.hex()))
    assert Erasures(store, "reel").erased(settings, TRUST) == Erased("reel")
    for user in ("7", "ä-8"):
        record(store, user)
    erased = Erasures(store, "reel").erased(settings, TRUST)
    assert (erased.newest, erased.among(["6", "7", "77", "ä-8"])) == (2, ["7", "ä-8"])
    assert Erasures(store, "other").erased(settings, TRUST).among(["7"]) == []


@given(erased=st.sets(st.text(min_size=1)), others=st.sets(st.text(min_size=1)))
def test_exactly_the_erased_are_among_any_users(erased: set[str], others: set[str]) -> None:
    subjects = frozenset(bytes.fromhex(KEY.subject("reel", user)) for user in erased)
    assert set(Erased("reel", KEY.secret, subjects, 1).among(erased | others)) == erased


def test_a_million_viewers_take_seconds() -> None:
    users = [f"viewer-{n}" for n in range(1_000_000)]
    erased = Erased("reel", KEY.secret, frozenset([bytes.fromhex(KEY.subject("reel", "viewer-777"))]), 1)
    started = time.process_time()
    assert erased.among(users) == ["viewer-777"]
    assert time.process_time() - started < 10


def test_without_its_key_nothing_may_land(tmp_path: Path) -> None:
    record(FolderStore(tmp_path), "7")
    erasures = Erasures(FolderStore(tmp_path), "reel")
    with pytest.raises(Refused, match=r"^Erasure 1 of reel was recorded with the key \w{16}, and there is no key"):
        erasures.erased(Settings(home=tmp_path), TRUST)
    other = make_erasure_key(Settings(home=tmp_path))
    with pytest.raises(Refused, match=f"and the key here is {other.id}, so its viewer cannot be told from others"):
        erasures.erased(Settings(home=tmp_path), TRUST)
    with pytest.raises(Refused, match=r"Set NIGHTREEL_ERASURE_KEY to that key\.$"):
        record(FolderStore(tmp_path), "8", key=other)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    assert erasure_key(settings) is None
    made = make_erasure_key(settings)
    assert (make_erasure_key(settings), erasure_key(settings), len(made.secret)) == (made, made, 32)
    file = tmp_path / "home/keys/erasure.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["erasure.key"]
    file.write_text("short")
    with pytest.raises(BadInput, match=r"erasure\.key must hold 64 hexadecimal digits"):
        erasure_key(settings)
    with pytest.raises(BadInput, match=r"^NIGHTREEL_ERASURE_KEY must hold 64 hexadecimal digits"):
        erasure_key(Settings(home=tmp_path, erasure_key=SecretStr("secret")))


@pytest.mark.parametrize(
    ("user", "reason", "told"),
    [
        ("7", " ", "gives a reason"),
        ("", "asked", "--user must name a viewer"),
        ("7", "viewer 7 asked", "must not name the viewer"),
    ],
)
def test_the_reason_is_one_and_names_nobody(tmp_path: Path, user: str, reason: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        record(FolderStore(tmp_path), user, reason=reason)
    assert record(FolderStore(tmp_path), "7", reason="ticket 77").seq == 1


def test_a_foreign_signature_refuses_where_signatures_are_required(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, stranger = FolderStore(tmp_path), Signer(Ed25519PrivateKey.generate(), local=False)
    Erasures(store, "reel").record("7", key=KEY, signer=stranger, trust=TRUST, by="eve", reason="x")
    with pytest.raises(Untrusted, match=r"^The erasure erasures/reel/00000001\.json is signed by the key"):
        Erasures(store, "reel").all(TRUST)
    (kept,) = Erasures(store, "reel").all(Trust(TRUST.keys, required=False))
    assert kept.by == "eve"
    assert "which is not trusted here" in caplog.text


def test_a_record_under_another_number_refuses(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    record(store, "7")
    store.put_if_absent("erasures/reel/00000002.json", store.get("erasures/reel/00000001.json"))
    with pytest.raises(Refused, match=r"00000002\.json says that it is erasure 1 of reel\.$"):
        Erasures(store, "reel").all(TRUST)
