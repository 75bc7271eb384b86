"""Signatures and envelopes: what is signed is what is read, and nothing else passes."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lineage.keys import public_pem
from lineage.signing import Signer, Trust, Untrusted

KIND = "application/vnd.nightreel.test+json"
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), local=True)
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)), local=False)
TRUST = Trust({SIGNER.keyid: SIGNER.public}, required=True, local=SIGNER.keyid)


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_an_envelope_gives_back_what_was_signed(content: dict[str, object]) -> None:
    payload = json.dumps(content).encode()
    data = SIGNER.envelope(payload, payload_type=KIND)
    assert TRUST.open(data, payload_type=KIND, what="It") == (payload, SIGNER.keyid)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_no_changed_byte_passes_as_other_content(at: int, by: int) -> None:
    payload = b'{"release":"7f","by":"ada"}'
    data = bytearray(SIGNER.envelope(payload, payload_type=KIND))
    data[at % len(data)] ^= by
    try:
        opened = TRUST.open(bytes(data), payload_type=KIND, what="It")
    except Untrusted:
        return
    assert opened == (payload, SIGNER.keyid)  # what base64 and JSON do not count, such as white space


def test_what_is_wrong_is_said() -> None:
    payload = b"{}"
    signed = SIGNER.sign(payload, payload_type=KIND)
    with pytest.raises(Untrusted, match=r"^Entry 3 carries no signature\.$"):
        TRUST.check(payload, None, payload_type=KIND, what="Entry 3")
    with pytest.raises(Untrusted, match=r"^Entry 3 has a signature that does not fit its content"):
        TRUST.check(b"{ }", signed, payload_type=KIND, what="Entry 3")
    with pytest.raises(Untrusted, match="does not fit"):
        TRUST.check(payload, signed, payload_type="application/json", what="Entry 3")
    foreign = OTHER.sign(payload, payload_type=KIND)
    with pytest.raises(Untrusted, match=f"signed by the key {OTHER.keyid[:12]}, which is not trusted here"):
        TRUST.check(payload, foreign, payload_type=KIND, what="Entry 3")
    claimed = foreign.model_copy(update={"keyid": SIGNER.keyid})
    with pytest.raises(Untrusted, match="does not fit"):
        TRUST.check(payload, claimed, payload_type=KIND, what="Entry 3")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"payload":"e30=","signatures":[]}', b"\xff\xfe"])
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(Untrusted, match=r"^It is no DSSE envelope around JSON\.$"):
        TRUST.open(data, payload_type=KIND, what="It")


def test_an_envelope_of_another_type_is_refused() -> None:
    data = SIGNER.envelope(b"{}", payload_type=KIND)
    with pytest.raises(Untrusted, match=f"^It is of type {KIND.replace('+', '.')}, not "):
        TRUST.open(data, payload_type="application/vnd.in-toto+json", what="It")


def test_a_local_key_is_said_to_be_one() -> None:
    assert TRUST.described(SIGNER.keyid) == f"{SIGNER.keyid[:12]} (a local key, generated on this machine)"
    assert TRUST.described(OTHER.keyid) == OTHER.keyid[:12]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_names_the_key_and_checks_the_signature_alike(tmp_path: Path) -> None:
    payload = b'{"_type":"https://in-toto.io/Statement/v1"}'
    envelope = json.loads(SIGNER.envelope(payload, payload_type=KIND))
    key, signed, signature = tmp_path / "key.pem", tmp_path / "signed", tmp_path / "signature"
    key.write_text(public_pem(SIGNER))
    signed.write_bytes(f"DSSEv1 {len(KIND)} {KIND} {len(payload)} ".encode() + payload)
    signature.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    check = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", signed, "-sigfile", signature]
    assert b"Verified Successfully" in subprocess.run(check, capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-in", key, "-outform", "DER"], capture_output=True, check=True)
    digest = subprocess.run(["sha256sum"], input=der.stdout, capture_output=True, check=True).stdout
    assert digest.split()[0].decode() == SIGNER.keyid
