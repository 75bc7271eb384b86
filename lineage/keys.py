"""Where keys come from: the settings, or a key that is generated here on first use."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from infra.errors import BadInput
from infra.secret_file import make_secret
from infra.settings import Settings
from lineage.signing import Signer, Trust, key_id

LOCAL_KEY = "keys/signing.pem"


def signer(settings: Settings) -> Signer:
    """The key to sign with: `NIGHTREEL_SIGNING_KEY`, or one that is generated under the home folder.

    Raises:
        BadInput: the key cannot be read or is not Ed25519.
    """
    if settings.signing_key:
        text = settings.signing_key.get_secret_value()
        pem = text.encode() if text.startswith("-----BEGIN") else _read(Path(text))
        return Signer(_private(pem, where="NIGHTREEL_SIGNING_KEY"), local=False)
    path = settings.home_dir / LOCAL_KEY
    if not path.exists():
        _generate(path)
    return Signer(_private(_read(path), where=str(path)), local=True)


def trust(settings: Settings, *, required: bool) -> Trust:
    """Whose signatures count: the keys of `NIGHTREEL_TRUSTED_KEYS`, or else the key that this machine signs with.

    Raises:
        BadInput: a key cannot be read or is not Ed25519.
    """
    if settings.trusted_keys:
        keys = [_public(_read(file), where=file) for file in _key_files(settings.trusted_keys)]
        return Trust({key_id(key): key for key in keys}, required)
    own = signer(settings)
    return Trust({own.keyid: own.public}, required, own.keyid if own.local else None)


def public_pem(signing: Signer) -> str:
    """The public key as PEM, to be handed to whoever is to trust it."""
    return signing.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _key_files(where: Path) -> list[Path]:
    files = sorted(where.glob("*.pem")) if where.is_dir() else [where]
    if not files:
        raise BadInput(f"NIGHTREEL_TRUSTED_KEYS names a folder without a *.pem file. Received: {where}")
    return files


def _generate(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    make_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"The key {path} cannot be read: {error.strerror}.") from None


def _private(pem: bytes, *, where: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadInput(f"{where} must hold an Ed25519 private key as PEM without a password.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{where} must hold an Ed25519 private key. Received: {type(key).__name__.strip('_')}")
    return key


def _public(pem: bytes, *, where: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadInput(f"{where} must hold an Ed25519 public key as PEM.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{where} must hold an Ed25519 public key. Received: {type(key).__name__.strip('_')}")
    return key
