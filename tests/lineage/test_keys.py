"""Keys from settings, or made once and readable by their owner alone."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from infra.errors import BadInput
from infra.settings import Settings
from lineage.keys import LOCAL_KEY, public_pem, signer, trust


def private_pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_a_local_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        keys = {made.keyid for made in pool.map(lambda _: signer(settings), range(8))}
    assert len(keys) == 1
    assert signer(settings).local
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["signing.pem"]
    assert stat.S_IMODE((tmp_path / LOCAL_KEY).stat().st_mode) == 0o600
    trusted = trust(settings, required=True)
    assert (set(trusted.keys), trusted.local, trusted.required) == (keys, *keys, True)


def test_a_key_is_given_as_text_or_as_a_file(tmp_path: Path) -> None:
    text = private_pem(Ed25519PrivateKey.generate())
    (tmp_path / "key.pem").write_text(text)
    by_text = signer(Settings(home=tmp_path, signing_key=SecretStr(text)))
    by_file = signer(Settings(home=tmp_path, signing_key=SecretStr(str(tmp_path / "key.pem"))))
    assert by_text.keyid == by_file.keyid
    assert not by_text.local
    assert not (tmp_path / "keys").exists()


def test_named_keys_are_trusted_and_no_others(tmp_path: Path) -> None:
    ours, theirs = (signer(Settings(home=tmp_path / name)) for name in ("ours", "theirs"))
    folder = tmp_path / "trusted"
    folder.mkdir()
    (folder / "theirs.pem").write_text(public_pem(theirs))
    for where in (folder, folder / "theirs.pem"):
        trusted = trust(Settings(home=tmp_path / "ours", trusted_keys=where), required=True)
        assert set(trusted.keys) == {theirs.keyid}
        assert trusted.local is None
    (folder / "ours.pem").write_text(public_pem(ours))
    assert set(trust(Settings(trusted_keys=folder), required=False).keys) == {ours.keyid, theirs.keyid}


def test_what_is_no_key_is_one_sentence(tmp_path: Path) -> None:
    elliptic = private_pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(BadInput, match=r"^NIGHTREEL_SIGNING_KEY must hold an Ed25519 private key\. Received: EC"):
        signer(Settings(home=tmp_path, signing_key=SecretStr(elliptic)))
    with pytest.raises(BadInput, match=r"^NIGHTREEL_SIGNING_KEY must hold an Ed25519 private key as PEM"):
        signer(Settings(home=tmp_path, signing_key=SecretStr("-----BEGIN NOTHING")))
    with pytest.raises(BadInput, match=r"^The key .*absent\.pem cannot be read: No such file or directory\.$"):
        signer(Settings(home=tmp_path, signing_key=SecretStr(str(tmp_path / "absent.pem"))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"names a folder without a \*\.pem file"):
        trust(Settings(home=tmp_path, trusted_keys=tmp_path / "empty"), required=True)
    (tmp_path / "public.pem").write_text("no key")
    with pytest.raises(BadInput, match=r"public\.pem must hold an Ed25519 public key as PEM\.$"):
        trust(Settings(home=tmp_path, trusted_keys=tmp_path / "public.pem"), required=True)
