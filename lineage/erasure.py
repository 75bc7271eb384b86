"""Erasures: signed records that a viewer's data had to go. The viewer is named by a keyed hash and by nothing else.

The hash is HMAC-SHA256 of the recommender's name, a zero byte and the id: without the key nobody can tell from a record
whether it is about a viewer, and with it every landing finds the rows that it must not take in again.
"""

import hmac
import logging
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.disk import disk_errors
from infra.errors import BadInput, Refused
from infra.secret_file import make_secret
from infra.settings import Settings
from infra.stores import ObjectStore
from lineage.canonical import Digest, canonical, sha256, utc_now
from lineage.signing import Signer, Trust, Untrusted, read_envelope

log = logging.getLogger(__name__)

ERASURES = "erasures/"
ERASURE_TYPE = "application/vnd.nightreel.erasure+json"
LOCAL_KEY = "keys/erasure.key"
KEY_BYTES = 32
PARALLEL = 8


class Erasure(BaseModel):
    """One erasure.

    Attributes:
        name: the recommender.
        seq: its number, from 1.
        subject: the keyed hash of the viewer's id, in hexadecimal.
        key_id: which key that was, see `ErasureKey.id`.
        by, at, reason: who asked for it, when (UTC, ISO 8601) and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    seq: int
    subject: Digest
    key_id: str
    by: str
    at: str
    reason: str


@dataclass(frozen=True)
class ErasureKey:
    """The secret that viewers are hashed with."""

    secret: bytes

    @property
    def id(self) -> str:
        """The key's name: the first 16 digits of the SHA-256 of the secret."""
        return sha256(self.secret)[:16]

    def subject(self, name: str, user: str) -> str:
        """The keyed hash of the viewer `user` of the recommender `name`, in hexadecimal."""
        return hmac.digest(self.secret, _message(name, user), "sha256").hex()


@dataclass(frozen=True)
class Erased:
    """The viewers of the recommender `name` who are erased.

    Attributes:
        secret: what they were hashed with.
        subjects: their hashes.
        newest: number of the newest erasure, 0 when there is none.
    """

    name: str
    secret: bytes = b""
    subjects: frozenset[bytes] = frozenset()
    newest: int = 0

    def among(self, users: Iterable[str]) -> list[str]:
        """Those of `users` who are erased."""
        secret, name, subjects = self.secret, _message(self.name, ""), self.subjects
        return [user for user in users if hmac.digest(secret, name + user.encode(), "sha256") in subjects]


class Erasures:
    """The erasures of the recommender `name`, in `store`."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self.name = name
        self._store = store

    def all(self, trust: Trust) -> list[Erasure]:
        """Every erasure, oldest first.

        One that no trusted key signed counts all the same, with a warning, unless signatures are required: whoever
        can write to the store could take far more out of a model than an erasure does.

        Raises:
            Refused: a record cannot be read, or is not the one that its number says.
            Untrusted: signatures are required, and one is wrong or foreign.
        """
        keys = list(self._store.keys(self._folder))
        with ThreadPoolExecutor(PARALLEL) as pool:
            return [
                read_erasure(key, data, trust) for key, data in zip(keys, pool.map(self._store.get, keys), strict=True)
            ]

    def record(self, user: str, *, key: ErasureKey, signer: Signer, trust: Trust, by: str, reason: str) -> Erasure:
        """Record that `user` is to be forgotten; the record that is there, when it was recorded before.

        Raises:
            BadInput: there is no reason, or it names the viewer, who would stand in the store for good.
            Refused: earlier erasures were recorded with another key.
        """
        _refuse_reason(reason, user)
        subject = key.subject(self.name, user)
        while True:
            known = self.all(trust)
            _refuse_foreign(known, key)
            if found := next((one for one in known if one.subject == subject), None):
                return found
            at = utc_now()
            seq = known[-1].seq + 1 if known else 1
            made = Erasure(name=self.name, seq=seq, subject=subject, key_id=key.id, by=by, at=at, reason=reason)
            envelope = signer.envelope(canonical(made.model_dump()), payload_type=ERASURE_TYPE)
            if self._store.put_if_absent(f"{self._folder}{seq:08d}.json", envelope):
                log.info("%s: erasure %d is recorded", self.name, seq)
                return made

    def erased(self, settings: Settings, trust: Trust) -> Erased:
        """The viewers whom no snapshot may hold any more.

        Raises:
            Refused: there are erasures, and this machine lacks the key to find their viewers by.
        """
        known = self.all(trust)
        if not known:
            return Erased(self.name)
        key = erasure_key(settings)
        _refuse_foreign(known, key)
        secret = key.secret if key else b""
        subjects = frozenset(bytes.fromhex(one.subject) for one in known)
        return Erased(self.name, secret, subjects, known[-1].seq)

    @property
    def any(self) -> bool:
        """Whether somebody was erased."""
        return next(self._store.keys(self._folder), None) is not None

    @property
    def _folder(self) -> str:
        return f"{ERASURES}{self.name}/"


def read_erasure(key: str, data: bytes, trust: Trust) -> Erasure:
    """The erasure that `data`, stored under `key`, is. Raises as `Erasures.all` does."""
    what = f"The erasure {key}"
    try:
        payload, _ = trust.open(data, payload_type=ERASURE_TYPE, what=what)
    except Untrusted as error:
        if trust.required:
            raise
        log.warning("%s It is kept to all the same.", error)
        payload = read_envelope(data, what=what).content()
    try:
        erasure = Erasure.model_validate_json(payload)
    except ValidationError as error:
        raise Refused(f"{what} cannot be read: {error.errors()[0]['msg']}.") from None
    if key != f"{ERASURES}{erasure.name}/{erasure.seq:08d}.json":
        raise Refused(f"{what} says that it is erasure {erasure.seq} of {erasure.name}.")
    return erasure


def erasure_key(settings: Settings) -> ErasureKey | None:
    """The key of `NIGHTREEL_ERASURE_KEY`, else the one under the home folder; None where there is none yet.

    Raises:
        BadInput: it cannot be read, or is not 64 hexadecimal digits.
    """
    if settings.erasure_key:
        return _key(settings.erasure_key.get_secret_value(), where="NIGHTREEL_ERASURE_KEY")
    path = settings.home_dir / LOCAL_KEY
    with disk_errors(path):
        return _key(path.read_text(encoding="ascii"), where=str(path)) if path.exists() else None


def make_erasure_key(settings: Settings) -> ErasureKey:
    """The key of `erasure_key`, generated under the home folder where there is none."""
    if (found := erasure_key(settings)) is not None:
        return found
    make_secret(settings.home_dir / LOCAL_KEY, secrets.token_hex(KEY_BYTES).encode())
    return make_erasure_key(settings)


def _message(name: str, user: str) -> bytes:
    return f"{name}\0{user}".encode()


def _key(text: str, *, where: str) -> ErasureKey:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text.strip()):
        raise BadInput(f"{where} must hold {2 * KEY_BYTES} hexadecimal digits, as `openssl rand -hex 32` gives them.")
    return ErasureKey(bytes.fromhex(text.strip()))


def _refuse_foreign(known: Iterable[Erasure], key: ErasureKey | None) -> None:
    other = next((one for one in known if key is None or one.key_id != key.id), None)
    if other:
        have = f"the key here is {key.id}" if key else "there is no key here"
        raise Refused(
            f"Erasure {other.seq} of {other.name} was recorded with the key {other.key_id}, and {have}, so its viewer "
            "cannot be told from others and no data may be taken in. Set NIGHTREEL_ERASURE_KEY to that key."
        )


def _refuse_reason(reason: str, user: str) -> None:
    if not user:
        raise BadInput("--user must name a viewer. Received: nothing")
    if not reason.strip():
        raise BadInput("Whoever erases a viewer gives a reason. Received: an empty one")
    if re.search(rf"(?<!\w){re.escape(user)}(?!\w)", reason):
        raise BadInput("The reason of an erasure is kept for good, so it must not name the viewer.")
