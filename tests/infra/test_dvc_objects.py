"""DVC's objects by their MD5, from cache or remote, damaged ones as they are."""

import hashlib
import json
from pathlib import Path

import pytest

from infra.dvc_objects import DvcObjects, with_committed_remote
from infra.errors import BadInput, Refused
from infra.settings import Settings
from infra.stores import open_store

WHOLE = b"user_id,video_id\n1,2\n"
MD5 = hashlib.md5(WHOLE).hexdigest()


def key(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


@pytest.fixture
def settings(store_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", remote=store_url)


def keep(data: bytes, md5: str, *, settings: Settings, remote: bool) -> None:
    url = str(settings.remote) if remote else str(settings.home_dir / "cache")
    assert open_store(url, settings).put_if_absent(key(md5), data)


def test_the_cache_is_asked_before_the_remote(settings, tmp_path):
    keep(b"changed", MD5, settings=settings, remote=False)
    keep(WHOLE, MD5, settings=settings, remote=True)
    objects, path = DvcObjects(settings), tmp_path / "out/events.csv"
    assert not objects.fetch(MD5, path, called="events.csv")
    assert path.read_bytes() == b"changed"
    assert objects.fetch_whole(MD5, path)
    assert path.read_bytes() == WHOLE
    assert (settings.home_dir / "cache" / key(MD5)).read_bytes() == b"changed"


def test_what_only_the_remote_has_is_fetched_and_not_cached(settings, tmp_path):
    keep(WHOLE, MD5, settings=settings, remote=True)
    assert DvcObjects(settings).fetch(MD5, tmp_path / "events.csv", called="events.csv")
    assert (tmp_path / "events.csv").read_bytes() == WHOLE
    assert not (settings.home_dir / "cache").exists()


def test_a_missing_object_is_one_sentence(settings, tmp_path):
    with pytest.raises(Refused) as said:
        DvcObjects(settings).fetch(MD5, tmp_path / "events.csv", called="data/accepted/events.csv")
    assert str(said.value) == (
        f"data/accepted/events.csv is neither in the DVC cache {settings.home_dir}/cache nor in the remote "
        f"{settings.remote} (DVC object {MD5}), so it cannot be compared."
    )
    assert not DvcObjects(settings).fetch_whole(MD5, tmp_path / "events.csv")
    assert not (tmp_path / "events.csv").exists()


def listing(*files: tuple[str, str]) -> tuple[bytes, str]:
    listed = json.dumps([{"md5": md5, "relpath": path} for path, md5 in files]).encode()
    return listed, f"{hashlib.md5(listed).hexdigest()}.dir"


def test_a_folder_is_read_from_the_place_whose_list_fits_its_name(settings):
    listed, name = listing(("events.csv", MD5), ("deep/videos.csv", MD5))
    keep(b"[]", name, settings=settings, remote=False)
    with pytest.raises(Refused, match=r"^The list of the files of data/accepted \(DVC object .*\) was changed"):
        DvcObjects(settings).folder(name, called="data/accepted")
    keep(listed, name, settings=settings, remote=True)
    assert DvcObjects(settings).folder(name, called="data/accepted") == {"events.csv": MD5, "deep/videos.csv": MD5}


def test_a_list_cannot_lead_out_of_its_folder(tmp_path):
    settings = Settings(home=tmp_path)
    listed, name = listing(("../../escaped", MD5))
    keep(listed, name, settings=settings, remote=False)
    with pytest.raises(BadInput, match="A key is names joined by slashes"):
        DvcObjects(settings).folder(name, called="data/accepted")


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(Refused, match=f"^data/raw must be a folder in dvc.lock. Received: {MD5}$"):
        DvcObjects(Settings(home=tmp_path)).folder(MD5, called="data/raw")


CONFIG = """
[core]
    remote = nightreel
['remote "nightreel"']
    url = s3://bucket/remote
    endpointurl = http://127.0.0.1:9
"""


def test_the_remote_of_a_commit_serves_where_none_is_set(tmp_path):
    settings = Settings(home=tmp_path, remote=None, s3_endpoint=None)
    found = with_committed_remote(settings, CONFIG)
    assert (found.remote, found.s3_endpoint, found.home_dir) == ("s3://bucket/remote", "http://127.0.0.1:9", tmp_path)
    own = settings.model_copy(update={"remote": "s3://mine", "s3_endpoint": "http://127.0.0.1:8"})
    assert with_committed_remote(own, CONFIG) == own
    assert with_committed_remote(settings, "[core]\n    analytics = false\n") == settings
