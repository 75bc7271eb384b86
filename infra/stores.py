"""Object stores: immutable bytes under keys, in a folder or on S3, created once and never changed.

A key is one or more names joined by slashes. Whatever stands under a key is whole: a reader sees all of it or nothing.
"""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from infra.disk import arriving, disk_errors, make_folder, sync_folder
from infra.errors import BadInput, Unreachable
from infra.s3 import SCHEME, client, parse_url, s3_errors, status
from infra.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PARTIAL = ".partial"
ABANDONED_SECONDS = 24 * 3600
CONFLICT_PAUSES = (0.1, 0.5, 2.0, 0.0)


class Missing(BadInput):
    """Nothing is stored under the key."""

    def __init__(self, where: str) -> None:
        super().__init__(f"The store has no {where}.")


class Stored(NamedTuple):
    """What a listing tells of an object: its size, and when it was stored (UTC)."""

    bytes: int
    at: datetime


class ObjectStore(Protocol):
    """What releases and ledgers need of a store.

    Every method raises `BadInput` when the store cannot be used as it is set up (a full disk, wrong credentials, a
    missing bucket) and `Unreachable` when its server does not answer.
    """

    def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `Missing` when there are none."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store `data` unless `key` exists. True: this call created it. False: it was there, and stays as it was.

        After a doubtful answer the key is read back, and True means that it holds exactly `data`.
        """

    def upload_if_absent(self, key: str, path: Path) -> None:
        """Stream the file at `path` to `key` unless it exists. For content-addressed keys: equal key, equal bytes."""

    def download(self, key: str, path: Path) -> None:
        """Stream what is under `key` to `path`, whole or not at all. Raises `Missing` when there is nothing."""

    def exists(self, key: str) -> bool:
        """Whether something is stored under `key`."""

    def keys(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """The keys that start with `prefix` and sort behind `after`, ascending by Unicode code points."""

    def listed(self, prefix: str) -> dict[str, Stored]:
        """Size and time of all that stands under keys that start with `prefix`."""

    def delete(self, key: str) -> None:
        """Remove what is under `key`, in all versions that a bucket keeps; nothing there is as well.

        For the erasure of a viewer, for retention and for earlier states of a lease: ledgers, records and manifests are
        never removed.
        """


def open_store(url: str, settings: Settings) -> ObjectStore:
    """The store at `url`, a folder or `s3://bucket/prefix`. A bucket is asked once whether it can be used.

    Raises:
        BadInput: the bucket does not exist or refuses the credentials.
        Unreachable: the S3 server does not answer.
    """
    if not url.startswith(SCHEME):
        return FolderStore(Path(url))
    bucket, prefix = parse_url(url)
    connection = client(settings)
    with s3_errors(url):
        connection.head_bucket(Bucket=bucket)
    return S3Store(connection, bucket, prefix)


class FolderStore:
    """A store in a local or network folder that knows hard links. Made on the first write."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        with disk_errors(self._root), self._present(key) as path:
            return path.read_bytes()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.put_if_absent`."""
        return self._create(key, lambda file: file.write(data))

    def upload_if_absent(self, key: str, path: Path) -> None:
        """See `ObjectStore.upload_if_absent`."""
        with path.open("rb") as source:
            self._create(key, lambda file: shutil.copyfileobj(source, file))

    def download(self, key: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        with disk_errors(path), self._present(key) as stored, stored.open("rb") as source, arriving(path) as file:
            shutil.copyfileobj(source, file)

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        with disk_errors(self._root):
            return self._path(key).is_file()

    def keys(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """See `ObjectStore.keys`."""
        below = prefix.rpartition("/")[0]
        start = self._path(below) if below else self._root
        with disk_errors(self._root):
            walk = os.walk(start, onerror=_raise_unless_absent)
            paths = [f"{folder}/{name}" for folder, _, names in walk for name in names]
        keys = (path[len(f"{self._root}/") :] for path in paths)
        found = (key for key in keys if key.startswith(prefix) and key > after and not key.startswith(f"{PARTIAL}/"))
        return iter(sorted(found))

    def listed(self, prefix: str) -> dict[str, Stored]:
        """See `ObjectStore.listed`."""
        found = {}
        with disk_errors(self._root):
            for key in self.keys(prefix):
                with suppress(FileNotFoundError):  # removed since
                    facts = self._path(key).stat()
                    found[key] = Stored(facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))
        return found

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._path(key)
        with disk_errors(self._root):
            if path.is_file():
                path.unlink(missing_ok=True)
                sync_folder(path.parent)

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    @contextmanager
    def _present(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        try:
            yield path
        except FileNotFoundError:
            if path.exists():
                raise
            raise Missing(str(path)) from None

    def _create(self, key: str, fill: Callable[[BinaryIO], object]) -> bool:
        """Hard-link a complete and synced temporary file to `key`: a kill leaves the whole file or none."""
        path = self._path(key)
        with disk_errors(self._root):
            if path.exists():
                return False
            make_folder(path.parent)
            make_folder(self._root / PARTIAL)
            self._sweep()
            partial = self._root / PARTIAL / uuid.uuid4().hex
            try:
                with partial.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                path.hardlink_to(partial)
            except FileExistsError:
                return False
            finally:
                partial.unlink(missing_ok=True)
            sync_folder(path.parent)
        return True

    def _sweep(self) -> None:
        """Remove what writers that were killed left behind long ago; a living writer keeps its file young."""
        for partial in (self._root / PARTIAL).iterdir():
            try:
                if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                    partial.unlink(missing_ok=True)
            except FileNotFoundError:
                continue


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


class S3Store:
    """A store under a prefix of an S3 bucket whose server enforces `If-None-Match: *`."""

    def __init__(self, connection: "S3Client", bucket: str, prefix: str) -> None:
        self._client = connection
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        with self._talking(key) as name:
            return self._client.get_object(Bucket=self._bucket, Key=name)["Body"].read()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.put_if_absent`."""
        for pause in CONFLICT_PAUSES:
            with self._talking(key) as name:
                try:
                    self._client.put_object(Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*")
                    return True
                except (ClientError, BotoCoreError) as error:
                    created = self._settle(key, data, error)
                    if created is not None:
                        return created
                    if status(error) != 409:
                        raise
            time.sleep(pause)  # 409: another writer of this key is at work, and S3 asks to try again
        raise Unreachable(f"S3 kept answering that {self._where(key)} is being written by another. Try again later.")

    def upload_if_absent(self, key: str, path: Path) -> None:
        """See `ObjectStore.upload_if_absent`. Large files go in parts; the key appears when the last one is there."""
        if not self.exists(key):
            with path.open("rb") as file, self._talking(key) as name:
                self._client.upload_fileobj(file, self._bucket, name)

    def download(self, key: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        with disk_errors(path), self._talking(key) as name, arriving(path) as file:
            self._client.download_fileobj(self._bucket, name, file)

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        try:
            with self._talking(key) as name:
                self._client.head_object(Bucket=self._bucket, Key=name)
        except Missing:
            return False
        return True

    def keys(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """See `ObjectStore.keys`."""
        # not every server sorts a/b behind a-b
        return iter(sorted(self._listed(prefix, after=self._prefix + after if after else "")))

    def listed(self, prefix: str) -> dict[str, Stored]:
        """See `ObjectStore.listed`."""
        return self._listed(prefix, after="")

    def _listed(self, prefix: str, *, after: str) -> dict[str, Stored]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix, StartAfter=after
        )
        with s3_errors(self._where(prefix)):
            every = [entry for page in pages for entry in page.get("Contents", [])]
        return {one["Key"].removeprefix(self._prefix): Stored(one["Size"], one["LastModified"]) for one in every}

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        pages = self._client.get_paginator("list_object_versions")
        with self._talking(key) as name:
            listed = list(pages.paginate(Bucket=self._bucket, Prefix=name))
            found = [one for page in listed for one in (*page.get("Versions", []), *page.get("DeleteMarkers", []))]
            # the current version last: while one is left, the key exists and a killed removal is taken up again
            for one in sorted((one for one in found if one["Key"] == name), key=lambda one: one["IsLatest"]):
                self._client.delete_object(Bucket=self._bucket, Key=name, VersionId=one["VersionId"])

    def _where(self, key: str) -> str:
        return f"{SCHEME}{self._bucket}/{self._prefix}{key}"

    @contextmanager
    def _talking(self, key: str) -> Iterator[str]:
        with s3_errors(self._where(checked_key(key))):
            try:
                yield self._prefix + key
            except ClientError as error:
                if status(error) == 404 and error.response.get("Error", {}).get("Code") != "NoSuchBucket":
                    raise Missing(self._where(key)) from error
                raise

    def _settle(self, key: str, data: bytes, error: Exception) -> bool | None:
        """Whether a put that ended in `error` created `key`; None: it is not there, or S3's answer was a plain no."""
        answer = status(error)
        if answer == 412 and isinstance(error, ClientError) and not error.response["ResponseMetadata"]["RetryAttempts"]:
            return False
        # 412 to a retry of botocore's can mean our own first attempt; 0 is a timeout or a broken connection
        if answer not in (0, 409, 412) and answer < 500:
            return None
        try:
            return self.get(key) == data
        except Missing:
            return None


def checked_key(key: str) -> str:
    """`key`, if it stays inside its store. Raises `BadInput` otherwise."""
    names = key.split("/")
    if names[0] == PARTIAL or "\0" in key or any(name in ("", ".", "..") for name in names):
        raise BadInput(f"A key is names joined by slashes, none of them empty, '.' or '..'. Received: {key!r}")
    return key
