"""Objects of some nights are removed from DVC's cache and remotes, and nobody else's."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.dvc_objects import CACHE, object_key
from infra.dvc_removal import DvcPlaces, outs_of
from infra.settings import Settings
from infra.stores import FolderStore, ObjectStore, open_store


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def put(store: ObjectStore, data: bytes, *, suffix: str = "") -> str:
    """Store an object as DVC does; its MD5."""
    md5 = md5_of(data) + suffix
    store.put_if_absent(f"files/md5/{md5[:2]}/{md5[2:]}", data)
    return md5


def put_folder(store: ObjectStore, files: dict[str, bytes]) -> str:
    listed = [{"md5": put(store, data), "relpath": path} for path, data in files.items()]
    return put(store, json.dumps(listed).encode(), suffix=".dir")


def lock(outs: dict[str, str]) -> str:
    """A `dvc.lock` of one stage with these outs, path by MD5."""
    written = [{"path": path, "hash": "md5", "md5": md5} for md5, path in outs.items()]
    read = [{"path": "data/landed.json", "hash": "md5", "md5": "0" * 32}]
    return yaml.safe_dump({"schema": "2.0", "stages": {"one": {"cmd": "x", "deps": read, "outs": written}}})


@pytest.fixture
def places(tmp_path: Path, store_url: str) -> DvcPlaces:
    """A cache, and a remote in a folder or on S3."""
    return DvcPlaces.of(Settings(home=tmp_path / "home", remote=store_url), [])


def stores(places: DvcPlaces) -> tuple[ObjectStore, ObjectStore]:
    cache, remote = places.stores.values()
    return cache, remote


def test_outs_are_read_from_the_lock() -> None:
    assert outs_of(lock({"a" * 32: "metrics/x.json", f"{'b' * 32}.dir": "data/raw"})) == {
        "a" * 32: "metrics/x.json",
        f"{'b' * 32}.dir": "data/raw",
    }
    assert outs_of("") == {}


def test_folders_are_expanded_from_whichever_place_has_their_list(places: DvcPlaces) -> None:
    cache, remote = stores(places)
    raw, docs = put_folder(cache, {"events/a.parquet": b"1"}), put_folder(remote, {"index.html": b"2"})
    damaged = f"{'c' * 32}.dir"
    cache.put_if_absent(f"files/md5/cc/{damaged[2:]}", b"[]")
    outs = {raw: "data/raw", docs: "data/docs", damaged: "data/index", "d" * 32: "metrics/x.json"}
    files = {md5_of(b"1"): "data/raw/events/a.parquet", md5_of(b"2"): "data/docs/index.html"}
    assert places.expanded(outs) == files | outs


def test_objects_are_removed_where_they_are(places: DvcPlaces, tmp_path: Path) -> None:
    cache, remote = stores(places)
    raw = put_folder(cache, {"a": b"1", "b": b"2"})
    for data in (b"1", b"other"):
        put(remote, data)
    other = put(cache, b"other")
    gone = places.expanded({raw: "data/raw"}).keys()
    present = places.present([*gone, "e" * 32])
    one, two = sorted((md5_of(b"1"), md5_of(b"2")))
    assert [list(there) for there in present.values()] == [[one, two, raw], [md5_of(b"1")]]
    assert [sum(there.values()) for there in present.values()] == [2 + len(cache.get(object_key(raw))), 1]
    places.remove(present)
    assert [list(place.keys("")) for place in (cache, remote)] == [[f"files/md5/{other[:2]}/{other[2:]}"]] * 2
    assert not any(places.present(gone).values())
    assert places.fetch(md5_of(b"1"), tmp_path / "file") is None
    assert places.fetch(other, tmp_path / "file") == tmp_path / "file"


def test_a_killed_removal_leaves_the_list_of_a_folder_in_the_cache_and_in_no_remote(places: DvcPlaces) -> None:
    cache, remote = stores(places)
    raw = put_folder(remote, {"a": b"1", "b": b"2"})
    (url,) = set(places.stores) - {CACHE}
    broken = replace(places, stores=places.stores | {url: _Dying(remote, after=1)})
    with pytest.raises(KeyboardInterrupt):
        broken.remove(places.present(places.expanded({raw: "data/raw"})))
    assert not remote.exists(object_key(raw))
    assert len(list(remote.keys(""))) == 2
    taken_up = DvcPlaces.of(Settings(home=places.cache.parent, remote=url), [])
    left = taken_up.present(taken_up.expanded({raw: "data/raw"}))
    assert {place: len(md5s) for place, md5s in left.items()} == {CACHE: 1, url: 2}
    taken_up.remove(left)
    assert [list(place.keys("")) for place in (cache, remote)] == [[], []]


class _Dying:
    """A store whose process is killed when it has removed `after` objects."""

    def __init__(self, store: ObjectStore, *, after: int) -> None:
        self._store, self._left = store, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete(self, key: str) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        self._store.delete(key)


def test_what_dvc_remembers_of_a_removed_object_is_forgotten(places: DvcPlaces) -> None:
    cache, _ = stores(places)
    for name, md5 in (("gone", "a" * 32), ("kept", "b" * 32)):
        entry = {"cmd": "x", "deps": [{"path": "d", "md5": "a" * 32}], "outs": [{"path": "data", "md5": md5}]}
        cache.put_if_absent(f"runs/aa/{name}/1", yaml.safe_dump(entry).encode())
    places.forget(["a" * 32])
    assert list(cache.keys("")) == ["runs/aa/kept/1"]


def test_objects_that_no_run_names_are_told(places: DvcPlaces, tmp_path: Path) -> None:
    cache, remote = stores(places)
    known, unknown = put(cache, b"known"), put(cache, b"unknown")
    put(remote, b"another's")
    assert places.unclaimed([known]) == {unknown: tmp_path / f"home/cache/files/md5/{unknown[:2]}/{unknown[2:]}"}


def test_remotes_of_the_runs_commits_count_as_well(tmp_path: Path) -> None:
    home, old, new = tmp_path / "home", tmp_path / "old", tmp_path / "new"
    config = f"[core]\n    remote = nightreel\n['remote \"nightreel\"']\n    url = {old}\n"
    places = DvcPlaces.of(Settings(home=home, remote=str(new)), [config, config, "[core]\n    analytics = false\n", ""])
    assert sorted(places.stores) == sorted(["cache", str(new), str(old)])
    md5 = put(FolderStore(old), b"1")
    places.remove({str(old): [md5]})
    assert list(open_store(str(old), Settings(home=home)).keys("")) == []
