"""Ed25519 signatures and DSSE envelopes: who vouches for a release, a ledger entry, an erasure.

An envelope is JSON that any DSSE tool reads (https://github.com/secure-systems-lab/dsse); a key's id is the SHA-256 of
its public half as DER, which `openssl pkey -pubin -in KEY.pem -outform DER | sha256sum` gives as well.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.errors import Refused
from lineage.canonical import Digest, canonical, sha256

Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$")]


class Untrusted(Refused):
    """A signature is missing, wrong, or by a key that is not trusted."""


class Signature(BaseModel):
    """Ed25519 over a payload's pre-authentication encoding; base64, and the id of the key."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    keyid: Digest
    sig: Base64


class Envelope(BaseModel):
    """A DSSE envelope: the payload in base64, its type, one signature or more."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    payload_type: Annotated[str, Field(alias="payloadType")]
    payload: Base64
    signatures: tuple[Signature, ...]

    def encoded(self) -> bytes:
        """The bytes that are stored."""
        return canonical(self.model_dump(by_alias=True))

    def content(self) -> bytes:
        """The payload's bytes. Nothing of them is proven before `Trust.check`."""
        return base64.b64decode(self.payload)


@dataclass(frozen=True)
class Signer:
    """A private key. `local`: it was generated here, so its signature proves no more than this machine's files do."""

    key: Ed25519PrivateKey
    local: bool

    @property
    def public(self) -> Ed25519PublicKey:
        """The half that others may have."""
        return self.key.public_key()

    @property
    def keyid(self) -> str:
        """The key's name."""
        return key_id(self.public)

    def sign(self, payload: bytes, *, payload_type: str) -> Signature:
        """Sign `payload` as what it is."""
        sig = self.key.sign(_encoded(payload_type, payload))
        return Signature(keyid=self.keyid, sig=base64.b64encode(sig).decode())

    def envelope(self, payload: bytes, *, payload_type: str) -> bytes:
        """A DSSE envelope of `payload`, as bytes."""
        return Envelope(
            payload_type=payload_type,
            payload=base64.b64encode(payload).decode(),
            signatures=(self.sign(payload, payload_type=payload_type),),
        ).encoded()


@dataclass(frozen=True)
class Trust:
    """Whose signatures count.

    Attributes:
        keys: trusted public keys by id.
        required: whether what is unsigned, wrongly signed or signed by others is refused when it is to be loaded.
        local: id of the key that was generated here, None where the operator names keys.
    """

    keys: Mapping[str, Ed25519PublicKey]
    required: bool
    local: str | None = None

    def check(self, payload: bytes, signature: Signature | None, *, payload_type: str, what: str) -> str:
        """The id of the trusted key that signed `payload`. Raises `Untrusted` that begins with `what`."""
        if signature is None:
            raise Untrusted(f"{what} carries no signature.")
        key = self.keys.get(signature.keyid)
        if key is None:
            known = ", ".join(keyid[:12] for keyid in self.keys) or "none"
            raise Untrusted(
                f"{what} is signed by the key {signature.keyid[:12]}, which is not trusted here (trusted: {known}). "
                "If it should be, put its public key under NIGHTREEL_TRUSTED_KEYS."
            )
        try:
            key.verify(base64.b64decode(signature.sig), _encoded(payload_type, payload))
        except (InvalidSignature, ValueError):
            raise Untrusted(f"{what} has a signature that does not fit its content: one of them was changed.") from None
        return signature.keyid

    def open(self, data: bytes, *, payload_type: str, what: str) -> tuple[bytes, str]:
        """Payload of an envelope, and the id of the trusted key that signed it. Raises `Untrusted`."""
        envelope = read_envelope(data, what=what)
        if envelope.payload_type != payload_type:
            raise Untrusted(f"{what} is of type {envelope.payload_type}, not {payload_type}.")
        payload = envelope.content()
        signature = next((one for one in envelope.signatures if one.keyid in self.keys), None)
        signature = signature or next(iter(envelope.signatures), None)
        return payload, self.check(payload, signature, payload_type=payload_type, what=what)

    def described(self, keyid: str) -> str:
        """The key in words, and that it was made here where it was."""
        if keyid == self.local:
            return f"{keyid[:12]} (a local key, generated on this machine)"
        return keyid[:12]


def read_envelope(data: bytes, *, what: str) -> Envelope:
    """Parse an envelope, nothing proven. Raises `Untrusted` that begins with `what`."""
    try:
        envelope = Envelope.model_validate_json(data)
        json.loads(envelope.content())
    except (ValidationError, ValueError):
        raise Untrusted(f"{what} is no DSSE envelope around JSON.") from None
    return envelope


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the public key as DER."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, which is what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
