"""S3's event notifications: which objects were put below a place, from a file or from objects under a prefix.

The JSON is Amazon's (`Records`, version 2.x), which MinIO and Ceph write as well:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_plus

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.disk import disk_errors
from infra.errors import BadInput
from infra.s3 import SCHEME
from infra.settings import Settings
from infra.stores import open_store


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Bucket(_Part):
    name: str


class _Object(_Part):
    key: str
    etag: str | None = Field(None, alias="eTag")


class _Place(_Part):
    bucket: _Bucket
    object: _Object


class Event(_Part):
    """One record: what happened to which object."""

    what: str = Field(alias="eventName")
    s3: _Place

    @property
    def uri(self) -> str:
        """The object's address; keys are URL-encoded in events."""
        return f"{SCHEME}{self.s3.bucket.name}/{unquote_plus(self.s3.object.key)}"


class _Notification(_Part):
    records: tuple[Event, ...] = Field((), alias="Records")  # none in the test event that S3 sends first


def created(where: str, settings: Settings) -> dict[str, str | None]:
    """The newest ETag by address of each object that the events at `where` say was put and not removed since.

    Args:
        where: a file with one notification a line, or `s3://bucket/prefix` with one or more in each object; those of
            one object are in the order of lines and of names.
        settings: where S3 is.

    Raises:
        BadInput: there is no such file, or it holds something else.
        Unreachable: S3 does not answer.
    """
    found: dict[str, str | None] = {}
    for name, text in _texts(where, settings):
        for line in filter(str.strip, text.splitlines()):
            for event in _events(line, name):
                found.pop(event.uri, None)
                if "ObjectCreated" in event.what:
                    found[event.uri] = event.s3.object.etag
    return found


def _texts(where: str, settings: Settings) -> Iterator[tuple[str, str]]:
    if not where.startswith(SCHEME):
        with disk_errors(Path(where)):
            yield where, Path(where).read_text(encoding="utf-8")
        return
    store = open_store(where, settings)
    for key in store.keys(""):
        yield f"{where}/{key}", store.get(key).decode("utf-8", "replace")


def _events(line: str, where: str) -> tuple[Event, ...]:
    try:
        return _Notification.model_validate(json.loads(line)).records
    except (ValueError, ValidationError) as error:
        raise BadInput(
            f"{where} must hold S3 event notifications, one JSON object a line. Received: {line[:80]!r}"
        ) from error
