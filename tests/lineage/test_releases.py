"""Releases on a folder and on a real S3 server: whole and unchanged, or refused."""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadInput, Refused
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store
from lineage.manifest import Manifest, build, check
from lineage.releases import Releases
from tests.lineage.test_manifest import FACTS

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url, Settings())


@pytest.fixture
def releases(store: ObjectStore, tmp_path: Path) -> Releases:
    return Releases(store, tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "made", seed=1)


def make(folder: Path, *, seed: int, space: str = FACTS.space) -> Path:
    """A release's folder: some arrays, a catalogue, an index that names its embedding space."""
    for name in ("model", "index"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "model" / "weights.npy", np.random.default_rng(seed).normal(size=(200, 16)))
    (folder / "model" / "videos.txt").write_text("Amélie\nДневной дозор\n")
    (folder / "index" / "index.json").write_text(json.dumps({"space": space, "kind": "exact"}))
    return folder


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def blob_of(manifest: Manifest, path: str) -> str:
    digest = manifest.parts[path].sha256
    return f"blobs/sha256/{digest[:2]}/{digest}"


def test_published_release_opens_with_the_same_bytes(releases: Releases, folder: Path, tmp_path: Path) -> None:
    manifest = build(folder, FACTS)
    release = releases.publish(folder, manifest)
    assert release == manifest.release
    assert releases.manifest(release) == manifest
    opened = releases.open(release)
    assert opened == tmp_path / "cache" / release
    assert below(opened) == below(folder)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted([release, "lock"])


def test_store_holds_each_part_once_under_its_digest(releases: Releases, store: ObjectStore, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", seed=1), make(tmp_path / "two", seed=2)
    manifests = [build(each, FACTS) for each in (one, two, one)]
    for each, manifest in zip((one, two, one), manifests, strict=True):
        releases.publish(each, manifest)
    blobs = {blob_of(manifest, path) for manifest in manifests for path in manifest.parts}
    assert len(blobs) == 4  # two weights, one list of videos, one index
    assert set(store.keys("")) == blobs | {f"manifests/{manifest.release}.json" for manifest in manifests}


def test_folder_that_changed_since_its_manifest_is_not_published(
    releases: Releases, store: ObjectStore, folder: Path
) -> None:
    manifest = build(folder, FACTS)
    (folder / "model" / "videos.txt").write_text("other")
    with pytest.raises(Refused, match=r"model/videos\.txt differs"):
        releases.publish(folder, manifest)
    assert list(store.keys("")) == []


def test_unknown_and_malformed_releases_are_bad_input(releases: Releases) -> None:
    with pytest.raises(BadInput, match=r"^The store has no such release\. Received: 0{64}$"):
        releases.open("0" * 64)
    for wrong in ("", "latest", "../x", "A" * 64, "0" * 63):
        with pytest.raises(BadInput, match="named by 64 hexadecimal digits"):
            releases.open(wrong)


def test_local_copy_that_was_changed_is_fetched_again(
    releases: Releases, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = releases.publish(folder, build(folder, FACTS))
    opened = releases.open(release)
    (opened / "model" / "videos.txt").write_text("tampered")
    (opened / "model" / "extra.txt").touch()
    assert below(releases.open(release)) == below(folder)
    assert "model/extra.txt does not belong to it; model/videos.txt differs" in caplog.text
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted([release, "lock"])


def test_what_a_killed_download_left_behind_does_no_harm(releases: Releases, folder: Path, tmp_path: Path) -> None:
    release = releases.publish(folder, build(folder, FACTS))
    shutil.copytree(folder / "model", tmp_path / "cache" / "partial")
    shutil.copytree(folder / "model", tmp_path / "cache" / "damaged")
    assert below(releases.open(release)) == below(folder)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted([release, "lock"])


def test_index_of_another_space_is_neither_published_nor_opened(
    releases: Releases, store: ObjectStore, tmp_path: Path
) -> None:
    folder = make(tmp_path / "made", seed=1, space="6" * 64)
    manifest = build(folder, FACTS)
    said = r"^Model and index of release \w{12} are of different embedding spaces\. Received: model 5{64}, index 6{64}$"
    with pytest.raises(Refused, match=said):
        releases.publish(folder, manifest)
    for path in manifest.parts:
        store.upload_if_absent(blob_of(manifest, path), folder / path)
    store.put_if_absent(f"manifests/{manifest.release}.json", manifest.encoded())
    with pytest.raises(Refused, match=said):
        releases.open(manifest.release)


@pytest.mark.parametrize("index", ["{}", "[]", "no json", '{"space": 5}'])
def test_index_without_a_space_is_refused(tmp_path: Path, index: str) -> None:
    folder = make(tmp_path / "made", seed=1)
    (folder / "index" / "index.json").write_text(index)
    with pytest.raises(Refused, match=r"embedding space"):
        Releases(FolderStore(tmp_path / "store"), tmp_path / "cache").publish(folder, build(folder, FACTS))


def damage_flip(blob: Path) -> None:
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)


def damage_cut(blob: Path) -> None:
    blob.write_bytes(blob.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [(damage_flip, r"model/weights\.npy differs\.$"), (damage_cut, "differs"), (Path.unlink, "The store has no")],
)
def test_damaged_part_in_the_store_is_refused(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    releases = Releases(FolderStore(tmp_path / "store"), tmp_path / "cache")
    manifest = build(folder, FACTS)
    releases.publish(folder, manifest)
    damage(tmp_path / "store" / blob_of(manifest, "model/weights.npy"))
    with pytest.raises(Refused, match=rf"^Release {manifest.release[:12]} is damaged in the store: .*{said}"):
        releases.open(manifest.release)
    assert not (tmp_path / "cache" / manifest.release).exists()


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_manifest_goes_unseen(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    root = tmp_path_factory.mktemp("releases")
    folder = make(root / "made", seed=1)
    releases = Releases(FolderStore(root / "store"), root / "cache")
    release = releases.publish(folder, build(folder, FACTS))
    stored = root / "store" / "manifests" / f"{release}.json"
    data = bytearray(stored.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    stored.write_bytes(data)
    with pytest.raises(Refused, match=rf"^The manifest of release {release[:12]} was changed in the store"):
        releases.open(release)


def publish_forever(store: str, folders: list[Path]) -> None:
    releases = Releases(FolderStore(Path(store)), Path(store).parent / "none")
    for folder in folders:
        releases.publish(folder, build(folder, FACTS))
    time.sleep(600)


def test_sigkill_while_publishing_leaves_whole_releases_or_none(tmp_path: Path) -> None:
    folders = [make(tmp_path / f"made-{seed}", seed=seed) for seed in range(40)]
    store = FolderStore(tmp_path / "store")
    releases = Releases(store, tmp_path / "cache")
    for round_ in range(4):
        publisher = spawn.Process(target=publish_forever, args=(str(tmp_path / "store"), folders))
        publisher.start()
        while len(list(store.keys("manifests/"))) < 3 * round_ + 1:
            time.sleep(0.001)
        publisher.kill()
        publisher.join()
    published = [key.removeprefix("manifests/").removesuffix(".json") for key in store.keys("manifests/")]
    assert len(published) < len(folders)
    for release in published:
        check(releases.open(release), releases.manifest(release))
    publisher = spawn.Process(target=publish_forever, args=(str(tmp_path / "store"), folders))
    publisher.start()
    while len(list(store.keys("manifests/"))) < len(folders):
        time.sleep(0.01)
    publisher.kill()
    publisher.join()


def open_once(store_url: str, cache: str, release: str, start: Barrier) -> None:
    releases = Releases(open_store(store_url, Settings()), Path(cache))
    start.wait()
    manifest = releases.manifest(release)
    for _ in range(5):
        check(releases.open(release), manifest)


def test_processes_that_open_one_release_at_once_all_get_it_whole(
    releases: Releases, folder: Path, store_url: str, tmp_path: Path
) -> None:
    release = releases.publish(folder, build(folder, FACTS))
    args = (store_url, str(tmp_path / "cache"), release, spawn.Barrier(4))
    openers = [spawn.Process(target=open_once, args=args) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 4
    assert sorted(os.listdir(tmp_path / "cache")) == sorted([release, "lock"])  # noqa: PTH208
