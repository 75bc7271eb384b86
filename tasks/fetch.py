"""Bringing a source's files here: listing a folder or S3 prefix, and a parallel, resumable, verified copy.

A copy goes on where a killed one stopped, as long as the object's ETag is the same, and counts only when size, the
declared SHA-256 and, for an object uploaded in one part, the MD5 in its ETag agree.
"""

import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from infra.console import track
from infra.disk import disk_errors, make_folder
from infra.errors import BadInput
from infra.s3 import SCHEME, client, parse_url, s3_errors, status
from infra.settings import Settings
from tasks.readers.base import LeftOut, LocalFile, SourceFile, Unreadable

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

THREADS = 8
ATTEMPTS = 4
CHUNK = 1 << 20
# botocore itself tries requests again, but not a body that breaks off.
BROKEN_STREAM = (HTTPClientError, IncompleteReadError)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A file below a location: `name` is its path from there, with slashes; `path` is None on S3."""

    name: str
    uri: str
    bytes: int
    etag: str | None = None
    path: Path | None = None


def list_location(location: str, *, settings: Settings) -> list[Found]:
    """Files below a folder or `s3://bucket/prefix`, by name; those whose path has a part in `.` or `_` are left out.

    Raises:
        BadInput: no such folder or bucket, or no access.
        Unreachable: S3 did not answer.
    """
    found = _list_bucket(location, settings) if location.startswith(SCHEME) else _list_folder(Path(location))
    hidden = re.compile(r"(^|/)[._]")
    return sorted((file for file in found if not hidden.search(file.name)), key=lambda file: file.name)


def source_file(found: Found, table: str, *, day: date | None = None, sha256: str | None = None) -> SourceFile:
    """`found` as a file of `table`."""
    return SourceFile(table, found.uri, found.bytes, found.etag, day, sha256, found.path)


def read_text(files: Sequence[Found], *, settings: Settings) -> list[str]:
    """The content of small text files, in parallel. Bytes that are no UTF-8 become U+FFFD."""
    if all(file.path for file in files):
        return [Path(file.uri).read_text("utf-8", "replace") for file in files]
    with closing(client(settings)) as s3, ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda file: _read(file, s3).decode("utf-8", "replace"), files))


def hash_local(files: Sequence[SourceFile]) -> tuple[list[SourceFile], list[LeftOut]]:
    """Give each file that lies on this machine its SHA-256; one that breaks its declared digest is left out."""
    kept: list[SourceFile] = []
    left_out: list[LeftOut] = []
    here = [file for file in files if file.path]
    for file in track(here, label="Reading digests", total=len(here)):
        try:
            kept.append(_checked(file, file.path or Path(file.uri)).source)
        except (Unreadable, OSError) as fault:
            left_out.append(LeftOut(file.uri, str(fault)))
    return kept + [file for file in files if not file.path], left_out


def bring(
    files: Sequence[SourceFile], *, into: Path, settings: Settings
) -> tuple[tuple[LocalFile, ...], tuple[LeftOut, ...]]:
    """Local copies of `files`, in their order, and those that could not be copied whole.

    Files of this machine, which `hash_local` has been through, are used where they lie; objects on S3 are copied to
    `into`, where a copy of an earlier attempt is found or continued.

    Raises:
        BadInput: S3 refuses access, or the disk is full.
        Unreachable: S3 does not answer; what is complete stays in `into`.
    """
    away = [file for file in files if file.path is None]
    copies = {file.uri: LocalFile(file, file.path) for file in files if file.path}
    left_out: dict[str, LeftOut] = {}
    for file, copy in _download_all(away, into, settings):
        if isinstance(copy, LocalFile):
            copies[file.uri] = copy
        else:
            left_out[file.uri] = LeftOut(file.uri, str(copy))
    kept = tuple(copies[file.uri] for file in files if file.uri in copies)
    return kept, tuple(left_out[file.uri] for file in files if file.uri in left_out)


def _list_folder(folder: Path) -> list[Found]:
    if not folder.is_dir():
        raise BadInput(f"The source must be a folder or an s3:// address. Received: {folder}, which is no folder.")
    root = folder.resolve()
    try:
        return [
            Found(path.relative_to(root).as_posix(), str(path), path.stat().st_size, path=path)
            for parent, _, names in os.walk(root, onerror=_raise)
            for path in (Path(parent, name) for name in names)
            if path.is_file()
        ]
    except PermissionError as error:
        raise BadInput(f"The source cannot be listed: no right to read {error.filename}") from None


def _raise(error: OSError) -> None:
    raise error


def _list_bucket(location: str, settings: Settings) -> list[Found]:
    bucket, prefix = parse_url(location)
    below = f"{prefix}/" if prefix else ""
    with s3_errors(location), closing(client(settings)) as s3:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below)
        objects = [item for page in pages for item in page.get("Contents", []) if not item["Key"].endswith("/")]
    return [
        Found(key.removeprefix(below), f"{SCHEME}{bucket}/{key}", item["Size"], item["ETag"].strip('"'))
        for item in objects
        if (key := item["Key"])
    ]


def _read(file: Found, s3: "S3Client") -> bytes:
    if file.path:
        return file.path.read_bytes()
    bucket, key = _bucket_key(file.uri)
    with s3_errors(file.uri):
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def _bucket_key(uri: str) -> tuple[str, str]:
    """Unlike `parse_url`, keeps the key as it is."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    return bucket, key


def _download_all(
    files: Sequence[SourceFile], into: Path, settings: Settings
) -> list[tuple[SourceFile, LocalFile | Unreadable]]:
    if not files:
        return []
    with disk_errors(into):
        make_folder(into)
    pool = ThreadPoolExecutor(THREADS)
    with closing(client(settings)) as s3:
        try:
            asked = {pool.submit(_download, s3, file, into): file for file in files}
            done = track(as_completed(asked), label="Copying from S3", total=len(asked))
            return [(asked[copy], copy.result()) for copy in done]
        finally:
            pool.shutdown(cancel_futures=True)


def _download(s3: "S3Client", file: SourceFile, into: Path) -> LocalFile | Unreadable:
    """The whole object, under a name made of what identifies it: a changed object never continues an old copy."""
    identity = hashlib.sha256(f"{file.uri}\n{file.etag}\n{file.bytes}".encode()).hexdigest()
    target = into / f"{identity}{Path(file.uri).suffix}"
    partial = target.with_suffix(".part")
    try:
        if target.exists():
            return _checked(file, target)
        _with_patience(lambda: _continue(s3, file, partial), file.uri)
        _check_md5(s3, file, partial)
        copy = _checked(file, partial)
    except Unreadable as fault:
        partial.unlink(missing_ok=True)
        return fault
    partial.replace(target)
    return replace(copy, path=target)


def _with_patience(copy: Callable[[], None], uri: str) -> None:
    """Take up a stream where it broke, a few times. Raises `Unreachable` when it keeps breaking."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            copy()
            return
        except BROKEN_STREAM as error:
            if attempt == ATTEMPTS:
                with s3_errors(uri):
                    raise
            log.info("The copy of %s broke off and goes on (%s)", uri, type(error).__name__)
            time.sleep(0.2 * 2**attempt)


def _continue(s3: "S3Client", file: SourceFile, partial: Path) -> None:
    """Append to `partial` what it lacks of the object, which must still be the one that was listed."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= file.bytes:
        partial.touch()
        return
    bucket, key = _bucket_key(file.uri)
    with s3_errors(file.uri):
        try:
            answer = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={have}-", IfMatch=f'"{file.etag}"')
        except ClientError as error:
            if status(error) in (404, 412, 416):
                raise Unreadable(f"it changed while it was copied (S3 answers {status(error)})") from error
            raise
    with disk_errors(partial), partial.open("ab") as out, closing(answer["Body"]) as body:
        for chunk in body.iter_chunks(CHUNK):
            out.write(chunk)


def _check_md5(s3: "S3Client", file: SourceFile, path: Path) -> None:
    """An ETag of 32 hex digits is the object's MD5, unless the object is encrypted with a key of its own."""
    if not re.fullmatch(r"[0-9a-f]{32}", file.etag or "") or _digest(path, "md5") == file.etag:
        return
    bucket, key = _bucket_key(file.uri)
    with s3_errors(file.uri):
        head = s3.head_object(Bucket=bucket, Key=key)
    if head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head:
        raise Unreadable(f"its bytes do not have the MD5 that its ETag declares, {file.etag}")


def _checked(file: SourceFile, path: Path) -> LocalFile:
    size = path.stat().st_size
    if size != file.bytes:
        raise Unreadable(f"it has {size} bytes where {file.bytes} were listed")
    sha256 = _digest(path, "sha256")
    if file.sha256 not in (None, sha256):
        raise Unreadable(f"its SHA-256 is {sha256}, where {file.sha256} is declared")
    return LocalFile(replace(file, sha256=sha256), path)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
