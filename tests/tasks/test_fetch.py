"""Listing and copying against a real S3 server: resumable, verified, and one sentence when it fails."""

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from infra.errors import BadInput, Unreachable
from infra.s3 import client, parse_url
from infra.settings import Settings
from tasks import fetch
from tasks.fetch import bring, hash_local, list_location, read_text, source_file
from tasks.landing import Landed, land
from tasks.readers.base import LocalFile, SourceFile, Unreadable
from tests.infra.servers import S3Server, free_ports
from tests.tasks.sources import NOON, day_csv, put

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BIG = random.Random(7).randbytes(3 << 20)


def upload(s3: S3Server, prefix: str, files: dict[str, bytes]) -> None:
    bucket, below = parse_url(prefix)
    for name, content in files.items():
        client(s3.settings()).put_object(Bucket=bucket, Key=f"{below}/{name}", Body=content)


def upload_folder(s3: S3Server, prefix: str, folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    upload(s3, prefix, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def big_object(s3: S3Server) -> tuple[SourceFile, str]:
    """An object of 3 MiB, listed."""
    prefix = s3.new_prefix()
    upload(s3, prefix, {"events/2022-04-10/big.parquet": BIG})
    found = list_location(prefix, settings=s3.settings())
    assert [(file.name, file.bytes) for file in found] == [("events/2022-04-10/big.parquet", len(BIG))]
    return source_file(found[0], "events", day=date(2022, 4, 10)), prefix


def part_of(file: SourceFile, into: Path) -> Path:
    """Where an unfinished copy of `file` lies."""
    return into / (hashlib.sha256(f"{file.uri}\n{file.etag}\n{file.bytes}".encode()).hexdigest() + ".part")


def land_s3(prefix: str, settings: Settings) -> Landed:
    return land("files", prefix, name="reel", settings=settings, as_of=date(2022, 4, 30))


@contextmanager
def cutting_proxy(endpoint: str, *, after: int, times: int) -> Iterator[str]:
    """An endpoint before `endpoint` whose first `times` connections break once `after` bytes came back."""
    target = urlsplit(endpoint)
    listener = socket.create_server(("127.0.0.1", 0))
    left = [times]

    def serve(caller: socket.socket) -> None:
        with caller, socket.create_connection((target.hostname or "", target.port or 0)) as server:
            threading.Thread(target=pump, args=(caller, server, None), daemon=True).start()
            limit = after if left[0] > 0 else None
            left[0] -= pump(server, caller, limit)

    def pump(source: socket.socket, sink: socket.socket, limit: int | None) -> int:
        sent = 0
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                sent += len(data)
                if limit is not None and sent >= limit:
                    sink.shutdown(socket.SHUT_RDWR)
                    return 1
        except OSError:
            pass
        return 0

    def accept() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(caller,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def test_a_folder_is_listed_without_hidden_files(tmp_path: Path) -> None:
    put(tmp_path / "b/two.csv", "22")
    put(tmp_path / "a.csv", "1")
    put(tmp_path / ".git/x.csv", "")
    put(tmp_path / "b/_tmp.csv", "")
    found = list_location(str(tmp_path), settings=Settings(home=tmp_path))
    assert [(file.name, file.uri, file.bytes, file.etag) for file in found] == [
        ("a.csv", str(tmp_path / "a.csv"), 1, None),
        ("b/two.csv", str(tmp_path / "b/two.csv"), 2, None),
    ]


def test_local_files_get_their_digest_and_a_broken_promise_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", "1")
    found = list_location(str(tmp_path), settings=Settings(home=tmp_path))[0]
    honest, wrong = source_file(found, "events"), source_file(found, "events", sha256="0" * 64)
    one = hashlib.sha256(b"1").hexdigest()
    kept, left_out = hash_local([honest, wrong])
    assert [file.sha256 for file in kept] == [one]
    assert [left.reason for left in left_out] == [f"its SHA-256 is {one}, where {'0' * 64} is declared"]


def test_s3_lands_what_a_folder_lands_and_nothing_is_copied_twice(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, prefix = tmp_path / "source", s3.new_prefix()
    path = day_csv(source, "2022-04-10")
    put(path.parent / "SHA256SUMS", f"{hashlib.sha256(path.read_bytes()).hexdigest()}  part-0.csv\n")
    day_csv(source, "2022-04-11", rows=f"2,20,{NOON}")
    put(source / "videos.csv", "video_id,title\n10,夜 & <é>\n")
    upload_folder(s3, prefix, source)
    settings = s3.settings(home=tmp_path / "home")
    landed = land_s3(prefix, settings)
    local = land_s3(str(source), Settings(home=tmp_path / "local"))
    assert [part.sha256 for part in landed.parts] == [part.sha256 for part in local.parts]
    assert [origin.uri for origin in landed.parts[0].origins] == [
        f"{prefix}/events/2022-04-10/part-0.csv", f"{prefix}/events/2022-04-11/part-0.csv",
    ]  # fmt: skip
    assert landed.parts[0].origins[0].etag == hashlib.md5(path.read_bytes()).hexdigest()
    assert not (tmp_path / "home/landing/reel/incoming").exists()

    copied: list[str] = []
    real = fetch._download

    def counted(connection: "S3Client", file: SourceFile, into: Path) -> LocalFile | Unreadable:
        copied.append(file.uri)
        return real(connection, file, into)

    monkeypatch.setattr(fetch, "_download", counted)
    assert land_s3(prefix, settings).as_json() == landed.as_json()
    upload(s3, prefix, {"events/2022-04-11/part-0.csv": f"user_id,video_id,timestamp\n2,21,{NOON}\n".encode()})
    assert land_s3(prefix, settings).notes == ("events 2022-04-11: corrected, version 2",)
    assert copied == [f"{prefix}/events/2022-04-11/part-0.csv"]


def test_a_killed_copy_goes_on_where_it_stopped(s3: S3Server, tmp_path: Path) -> None:
    file, _ = big_object(s3)
    part = part_of(file, tmp_path)
    part.write_bytes(BIG[: 1 << 20])
    copies, left_out = bring([file], into=tmp_path, settings=s3.settings())
    assert left_out == ()
    assert copies[0].path.read_bytes() == BIG
    assert copies[0].source == replace(file, sha256=hashlib.sha256(BIG).hexdigest())
    # found, not copied again: a server is not even needed
    dead = s3.settings(s3_endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")
    assert bring([file], into=tmp_path, settings=dead)[0] == copies


def test_a_copy_that_is_not_the_object_is_dropped_and_made_anew(s3: S3Server, tmp_path: Path) -> None:
    file, _ = big_object(s3)
    part_of(file, tmp_path).write_bytes(b"not the beginning")
    copies, left_out = bring([file], into=tmp_path, settings=s3.settings())
    assert (copies, left_out[0].uri) == ((), file.uri)
    assert left_out[0].reason == f"its bytes do not have the MD5 that its ETag declares, {file.etag}"
    assert bring([file], into=tmp_path, settings=s3.settings())[0][0].path.read_bytes() == BIG


def test_a_stream_that_breaks_is_taken_up_again(s3: S3Server, tmp_path: Path) -> None:
    file, _ = big_object(s3)
    with cutting_proxy(s3.endpoint, after=1 << 20, times=2) as endpoint:
        copies, left_out = bring([file], into=tmp_path, settings=s3.settings(s3_endpoint=endpoint))
    assert left_out == ()
    assert copies[0].path.read_bytes() == BIG


def test_an_object_that_changes_meanwhile_is_left_out(s3: S3Server, tmp_path: Path) -> None:
    file, prefix = big_object(s3)
    upload(s3, prefix, {"events/2022-04-10/big.parquet": BIG[:-1] + b"?"})
    copies, left_out = bring([file], into=tmp_path, settings=s3.settings())
    assert (copies, left_out[0].reason) == ((), "it changed while it was copied (S3 answers 412)")


def test_a_day_on_s3_that_breaks_its_declared_digest_is_left_out(s3: S3Server, tmp_path: Path) -> None:
    source, prefix = tmp_path / "source", s3.new_prefix()
    day_csv(source, "2022-04-09")
    put(day_csv(source, "2022-04-10").parent / "SHA256SUMS", f"{'0' * 64}  part-0.csv\n")
    upload_folder(s3, prefix, source)
    landed = land_s3(prefix, s3.settings(home=tmp_path / "home"))
    assert [str(day) for part in landed.parts for day in part.days] == ["2022-04-09"]
    assert [left["uri"] for left in landed.left_out] == [f"{prefix}/events/2022-04-10/part-0.csv"]


def test_small_texts_are_read_from_both_places(s3: S3Server, tmp_path: Path) -> None:
    prefix = s3.new_prefix()
    upload(s3, prefix, {"SHA256SUMS": "é".encode()})
    put(tmp_path / "SHA256SUMS", "ü")
    found = [
        *list_location(prefix, settings=s3.settings()),
        *list_location(str(tmp_path), settings=s3.settings()),
    ]
    assert read_text(found, settings=s3.settings()) == ["é", "ü"]


def test_wrong_keys_are_one_sentence(s3: S3Server, tmp_path: Path) -> None:
    settings = s3.settings(s3_secret_key=SecretStr("wrong"), home=tmp_path)
    with pytest.raises(
        BadInput, match=r"^S3 refused access to s3://nightreel/.*Check the credentials and their rights"
    ):
        land_s3(s3.new_prefix(), settings)


def test_a_missing_bucket_and_an_empty_prefix_are_told_apart(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^The bucket of s3://no-such-bucket/x does not exist"):
        land_s3("s3://no-such-bucket/x", s3.settings(home=tmp_path))
    prefix = s3.new_prefix()
    with pytest.raises(
        BadInput, match=rf"^{prefix} holds no events: days lie in events/YYYY-MM-DD/. Received: nothing$"
    ):
        land_s3(prefix, s3.settings(home=tmp_path))


def test_a_server_that_is_away_is_unreachable_and_copies_are_kept(s3: S3Server, tmp_path: Path) -> None:
    file, _ = big_object(s3)
    part_of(file, tmp_path).write_bytes(BIG[:1000])
    dead = s3.settings(s3_endpoint=f"http://127.0.0.1:{free_ports(1)[0]}", home=tmp_path)
    with pytest.raises(Unreachable, match=r"^S3 did not answer for s3://nightreel/.*big.parquet"):
        bring([file], into=tmp_path, settings=dead)
    assert part_of(file, tmp_path).read_bytes() == BIG[:1000]
    with pytest.raises(Unreachable, match=r"^S3 did not answer for s3://nightreel/x"):
        land_s3("s3://nightreel/x", dead)


def test_a_full_disk_is_one_sentence(s3: S3Server, tmp_path: Path) -> None:
    file, _ = big_object(s3)
    part_of(file, tmp_path).symlink_to("/dev/full")
    with pytest.raises(BadInput, match=r"^The disk of .*\.part is full. Free some space there and run again"):
        bring([file], into=tmp_path, settings=s3.settings())
