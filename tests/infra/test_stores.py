"""The same promises held by a folder and by a real S3 server."""

import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from botocore.exceptions import ConnectionClosedError
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadInput, Unreachable
from infra.locks import locked
from infra.s3 import client, parse_url
from infra.settings import Settings
from infra.stores import PARTIAL, FolderStore, Missing, ObjectStore, S3Store, open_store
from tests.infra.fault_proxy import Fault, cut_off
from tests.infra.servers import BUCKET, S3Server, seaweed

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url, Settings())


def test_first_put_creates_and_second_changes_nothing(store: ObjectStore) -> None:
    assert store.put_if_absent("a/b.json", b"one") is True
    assert store.put_if_absent("a/b.json", b"two") is False
    assert store.get("a/b.json") == b"one"


def test_putting_equal_bytes_again_says_that_they_were_there(store: ObjectStore) -> None:
    assert [store.put_if_absent("a", b"same") for _ in range(2)] == [True, False]


def test_absent_key_is_missing(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nothing/here"):
        store.get("nothing/here")
    with pytest.raises(Missing, match="nothing/here"):
        store.download("nothing/here", tmp_path / "target")
    assert store.exists("nothing/here") is False
    assert list(tmp_path.glob("*target*")) == []


def test_a_folder_of_keys_is_no_key(store: ObjectStore) -> None:
    store.put_if_absent("a/b", b"")
    assert (store.exists("a"), store.exists("a/b"), store.exists("a/b/c")) == (False, True, False)


def test_a_listing_tells_sizes_and_times(store: ObjectStore) -> None:
    for key, data in (("a/b", b"one"), ("a/c", b""), ("b", b"three")):
        store.put_if_absent(key, data)
    found = store.listed("a/")
    assert {key: facts.bytes for key, facts in found.items()} == {"a/b": 3, "a/c": 0}
    assert all(abs(datetime.now(UTC) - facts.at) < timedelta(minutes=1) for facts in found.values())
    assert store.listed("c/") == {}


def test_keys_are_sorted_filtered_and_hide_partial_files(store: ObjectStore, store_url: str) -> None:
    for key in ("a/b", "a-b", "a/ä", "b/c", "a/b2"):
        store.put_if_absent(key, b"x")
    if isinstance(store, FolderStore):
        (Path(store_url) / PARTIAL / "torn").write_bytes(b"half")
    assert list(store.keys("")) == ["a-b", "a/b", "a/b2", "a/ä", "b/c"]
    assert list(store.keys("a/b")) == ["a/b", "a/b2"]
    assert list(store.keys("a/", after="a/b")) == ["a/b2", "a/ä"]
    assert list(store.keys("none/")) == []


def test_large_file_goes_up_once_and_comes_down_whole(store: ObjectStore, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(20 * 2**20 + 7))  # several parts on S3
    store.upload_if_absent("blobs/x", source)
    target.write_bytes(b"older")
    store.download("blobs/x", target)
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    source.write_bytes(b"other")
    store.upload_if_absent("blobs/x", source)
    assert len(store.get("blobs/x")) == 20 * 2**20 + 7
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["source", "target"]


@pytest.mark.parametrize("fault", ["refuse", "stall", "truncate", "503"])
def test_a_put_through_a_fault_comes_through_or_says_that_it_did_not(s3: S3Server, fault: Fault) -> None:
    url = s3.new_prefix()
    with cut_off(s3.endpoint, fault, trigger=b"PUT ", seconds=1.0) as proxy:
        disturbed = open_store(url, s3.settings(s3_endpoint=proxy.url))
        with suppress(Unreachable):
            assert disturbed.put_if_absent("key", b"bytes")
        assert proxy.triggered
        time.sleep(1.0)
        disturbed.put_if_absent("key", b"bytes")
    assert open_store(url, s3.settings()).get("key") == b"bytes"


def test_an_answer_that_lost_its_length_is_not_an_empty_one(s3: S3Server) -> None:
    url = s3.new_prefix()
    open_store(url, s3.settings()).put_if_absent("key", b"bytes")
    with cut_off(s3.endpoint, "truncate", trigger=b"GET ", seconds=60.0) as proxy:
        cut = open_store(url, s3.settings(s3_endpoint=proxy.url))
        for ask in (lambda: cut.get("key"), lambda: list(cut.keys(""))):
            with pytest.raises(Unreachable):
                ask()


def test_delete_removes_one_key_alone_and_twice_is_as_well(store: ObjectStore) -> None:
    for key in ("a", "a-b", "b/a", "b/aa"):
        store.put_if_absent(key, b"x")
    for key in ("a", "b/a", "b/a", "b", "c/d"):
        store.delete(key)
    assert list(store.keys("")) == ["a-b", "b/aa"]
    assert store.put_if_absent("a", b"new")
    assert store.get("a") == b"new"


def test_delete_leaves_no_version_in_a_bucket_that_keeps_them(s3: S3Server) -> None:
    connection = client(s3.settings())
    connection.create_bucket(Bucket="versions")
    connection.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"new"):
        connection.put_object(Bucket="versions", Key="in/a", Body=body)
    connection.delete_object(Bucket="versions", Key="in/a")
    connection.put_object(Bucket="versions", Key="in/a", Body=b"newest")
    connection.put_object(Bucket="versions", Key="in/ab", Body=b"other")
    open_store("s3://versions/in", s3.settings()).delete("a")
    left = connection.list_object_versions(Bucket="versions")
    assert [one["Key"] for one in (*left["Versions"], *left.get("DeleteMarkers", []))] == ["in/ab"]


@pytest.mark.parametrize("key", ["", "/etc/x", "a//b", "../x", "a/../../x", "a/.", "a/", f"{PARTIAL}/x", "a\0b"])
def test_keys_cannot_leave_the_store(store: ObjectStore, key: str) -> None:
    with pytest.raises(BadInput, match="A key is names joined by slashes"):
        store.put_if_absent(key, b"x")
    with pytest.raises(BadInput, match="A key is names joined by slashes"):
        store.get(key)


name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20)


@given(key=st.lists(name, min_size=1, max_size=4).map("/".join), data=st.binary(max_size=2000))
def test_any_bytes_under_any_good_key_come_back(
    tmp_path_factory: pytest.TempPathFactory, key: str, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("store")
    store = FolderStore(folder)
    if any(part in (".", "..") for part in key.split("/")):
        with pytest.raises(BadInput):
            store.put_if_absent(key, data)
        return
    assert store.put_if_absent(key, data)
    assert store.get(key) == data
    assert list(store.keys("")) == [key]


RACED = 60


def race(store_url: str, writer: int, start: Barrier) -> None:
    store = open_store(store_url, Settings())
    start.wait()
    won = [number for number in range(RACED) if store.put_if_absent(f"race/{number}", f"{writer}".encode())]
    store.put_if_absent(f"won/{writer}", ",".join(map(str, won)).encode())


def test_of_racing_processes_exactly_one_creates_a_key(store: ObjectStore, store_url: str) -> None:
    start = spawn.Barrier(4)
    writers = [spawn.Process(target=race, args=(store_url, writer, start)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    won = {writer: [int(n) for n in store.get(f"won/{writer}").decode().split(",") if n] for writer in range(4)}
    assert sorted(number for numbers in won.values() for number in numbers) == list(range(RACED))
    for writer, numbers in won.items():
        assert {store.get(f"race/{number}") for number in numbers} <= {f"{writer}".encode()}


def write_forever(folder: str) -> None:
    store = FolderStore(Path(folder))
    number = 0
    while store.put_if_absent(f"{os.getpid()}/{number}", bytes(200_000)):
        number += 1


def test_sigkill_leaves_whole_files_or_none(tmp_path: Path) -> None:
    for round_ in range(5):
        writer = spawn.Process(target=write_forever, args=(str(tmp_path),))
        writer.start()
        while not list(FolderStore(tmp_path).keys(f"{writer.pid}/")):
            time.sleep(0.01)
        time.sleep(0.013 * round_)
        writer.kill()
        writer.join()
    store = FolderStore(tmp_path)
    keys = list(store.keys(""))
    assert len({key.split("/")[0] for key in keys}) == 5
    assert {store.get(key) for key in keys} == {bytes(200_000)}


def test_only_partial_files_of_writers_long_dead_are_swept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_if_absent("a", b"x")
    old, young = tmp_path / PARTIAL / "old", tmp_path / PARTIAL / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    store.put_if_absent("b", b"x")
    assert (old.exists(), young.exists()) == (False, True)


FILL = """
import sys
from pathlib import Path
from infra.errors import BadInput
from infra.stores import FolderStore
full, source = Path(sys.argv[1]), Path(sys.argv[2])
store = FolderStore(full / "store")
assert store.put_if_absent("before", b"live")
def sentence(act):
    try:
        act()
    except BadInput as error:
        return str(error)
for act in (
    lambda: store.put_if_absent("ledger/1", bytes(200_000)),
    lambda: store.upload_if_absent("blob", source),
    lambda: FolderStore(source.parent).download(source.name, full / "copy"),
):
    print(sentence(act))
print(list(store.keys("")), store.get("before"), sorted(p.name for p in full.iterdir()))
print(list((full / "store" / ".partial").iterdir()))
"""


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    full, source = tmp_path / "full", tmp_path / "source"
    full.mkdir()
    source.write_bytes(bytes(200_000))
    mount = f'mount -t tmpfs -o size=128k none "{full}" && exec "$@"'
    unshare = [shutil.which("unshare") or "", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not unshare[0] or subprocess.run([*unshare, mount, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk of his own")
    child = [sys.executable, "-c", FILL, str(full), str(source)]
    done = subprocess.run([*unshare, mount, "sh", *child], capture_output=True, text=True, check=True)
    told = "The disk of {} is full. Free some space there and run again."
    assert done.stdout.splitlines() == [
        told.format(full / "store"),
        told.format(full / "store"),
        told.format(full / "copy"),
        "['before'] b'live' ['store']",
        "[]",
    ]


def test_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(BadInput, match=r"store cannot be used: (Not a directory|File exists)"):
        FolderStore(tmp_path / "store").put_if_absent("a", b"x")


def test_parse_url_splits_bucket_and_prefix() -> None:
    assert parse_url("s3://bucket") == ("bucket", "")
    assert parse_url("s3://bucket/a/b/") == ("bucket", "a/b")
    for wrong in ("s3://", "/folder", "https://bucket/a", "s3:///a"):
        with pytest.raises(BadInput, match="looks like s3://bucket/prefix"):
            parse_url(wrong)


@pytest.mark.parametrize("wrong", [{"s3_secret_key": "wrong"}, {"s3_access_key": "wrong"}])
def test_wrong_keys_are_one_sentence(s3: S3Server, wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"^S3 refused access to s3://nightreel/x \(403\)\. Check the credentials"):
        open_store(f"s3://{BUCKET}/x", s3.settings(**wrong))


def test_missing_bucket_is_one_sentence(s3: S3Server) -> None:
    with pytest.raises(BadInput, match=r"^The bucket of s3://no-such-bucket/x does not exist\. Create it"):
        open_store("s3://no-such-bucket/x", s3.settings())
    with pytest.raises(BadInput, match="does not exist"):
        S3Store(client(s3.settings()), "no-such-bucket", "x").put_if_absent("a", b"x")
    with pytest.raises(BadInput, match="S3 does not take the address"):
        open_store("s3://N@/x", s3.settings())


def test_half_a_pair_of_credentials_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"Received: NIGHTREEL_S3_ACCESS_KEY without NIGHTREEL_S3_SECRET_KEY"):
        client(Settings.model_validate({"s3_access_key": "a"}))


def test_no_credentials_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, s3: S3Server) -> None:
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"^No S3 credentials for s3://nightreel/x: .*Set NIGHTREEL_S3_ACCESS_KEY"):
        open_store(f"s3://{BUCKET}/x", s3.settings(s3_access_key=None, s3_secret_key=None))


def test_endpoint_that_is_no_url_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"must be an http\(s\) URL. Received: 'nowhere'"):
        client(Settings.model_validate({"s3_endpoint": "nowhere"}))


@pytest.mark.slow
def test_server_killed_midway_is_unreachable_soon(tmp_path: Path) -> None:
    with seaweed(tmp_path) as server:
        store = open_store(server.new_prefix(), server.settings())
        store.put_if_absent("a", b"x")
        server.kill()
        acts = (
            lambda: store.get("a"),
            lambda: store.put_if_absent("b", b"x"),
            lambda: store.exists("a"),
            lambda: list(store.keys("")),
            lambda: store.download("a", tmp_path / "target"),
            lambda: store.upload_if_absent("c", tmp_path / "s3.json"),
            lambda: store.delete("a"),
        )
        start = time.monotonic()
        for act in acts:
            with pytest.raises(Unreachable, match=r"^S3 did not answer for s3://nightreel/\w+/\w?: .*try again\.$"):
                act()
        assert time.monotonic() - start < 60
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("lost", ["answer", "request"])
def test_doubtful_answer_is_settled_by_reading_back(s3: S3Server, lost: str) -> None:
    """The connection breaks after (or before) the server has acted on a put: the store must tell which."""
    connection = client(s3.settings())
    store = S3Store(connection, BUCKET, s3.new_prefix().rpartition("/")[2])
    real, calls = client(s3.settings()), []

    def broken(**request: object) -> None:
        calls.append(request)
        if lost == "answer":
            real.put_object(**request)  # type: ignore[arg-type]
        raise ConnectionClosedError(endpoint_url=s3.endpoint)

    connection.put_object = broken  # type: ignore[assignment,method-assign]
    if lost == "answer":
        assert store.put_if_absent("a", b"mine") is True
        assert store.get("a") == b"mine"
    else:
        with pytest.raises(Unreachable, match="did not answer"):
            store.put_if_absent("a", b"mine")
        assert real.put_object(Bucket=BUCKET, Key=calls[0]["Key"], Body=b"theirs")
        assert store.put_if_absent("a", b"mine") is False


def hold(path: str, held: str) -> None:
    with locked(Path(path)):
        Path(held).touch()
        time.sleep(600)


def test_lock_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    lock, held = tmp_path / "new" / "lock", tmp_path / "held"
    holder = spawn.Process(target=hold, args=(str(lock), str(held)))
    holder.start()
    while not held.exists():
        time.sleep(0.01)
    waiter = spawn.Process(target=hold, args=(str(lock), str(tmp_path / "second")))
    waiter.start()
    waiter.join(2)
    assert not (tmp_path / "second").exists()
    holder.kill()
    holder.join()
    deadline = time.monotonic() + 30
    while not (tmp_path / "second").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiter.kill()
    waiter.join()
