import os
from pathlib import Path

import pytest

from tasks.media.location import resolve_media


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source/clips").mkdir(parents=True)
    (tmp_path / "source/clips/a.mp4").write_bytes(b"a")
    (tmp_path / "secret.mp4").write_bytes(b"s")
    return tmp_path / "source"


@pytest.mark.parametrize("media", ["clips/a.mp4", "./clips/a.mp4", "clips/../clips/a.mp4"])
def test_a_path_inside_leads_to_its_file(source: Path, media: str) -> None:
    assert resolve_media(source, media) == (source / "clips/a.mp4").resolve()


def test_a_link_that_stays_inside_is_followed(source: Path) -> None:
    (source / "b.mp4").symlink_to("clips/a.mp4")
    assert resolve_media(source, "b.mp4") == (source / "clips/a.mp4").resolve()


def test_the_source_itself_may_be_behind_a_link(source: Path) -> None:
    (source.parent / "link").symlink_to(source)
    assert resolve_media(source.parent / "link", "clips/a.mp4") == (source / "clips/a.mp4").resolve()


@pytest.mark.parametrize(
    "media",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "file:clips/a.mp4",
        "http://example.org/a.mp4",
        "https://example.org/a.mp4",
        "s3://bucket/a.mp4",
        "concat:clips/a.mp4",
        "clips/a.mp4\0.txt",
    ],
)
def test_urls_and_absolute_paths_are_refused(source: Path, media: str) -> None:
    with pytest.raises(ValueError, match=r"^media must be a path inside the source\. Received: "):
        resolve_media(source, media)


@pytest.mark.parametrize("media", ["../secret.mp4", "../../etc/passwd", "clips/../../secret.mp4", "../nothing.mp4"])
def test_a_path_that_climbs_out_is_refused(source: Path, media: str) -> None:
    with pytest.raises(ValueError, match="leads outside"):
        resolve_media(source, media)


def test_a_link_that_leads_out_is_refused(source: Path) -> None:
    (source / "out.mp4").symlink_to(source.parent / "secret.mp4")
    (source / "folder").symlink_to(source.parent)
    for media in ("out.mp4", "folder/secret.mp4"):
        with pytest.raises(ValueError, match="leads outside"):
            resolve_media(source, media)


def test_a_loop_of_links_is_refused(source: Path) -> None:
    (source / "x").symlink_to("y")
    (source / "y").symlink_to("x")
    with pytest.raises(ValueError, match="must be a file that exists in the source"):
        resolve_media(source, "x")


def test_what_is_missing_is_named(source: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a file that exists in the source. Received: 'clips/b.mp4'"):
        resolve_media(source, "clips/b.mp4")


def test_folders_pipes_and_devices_are_refused(source: Path) -> None:
    os.mkfifo(source / "pipe")
    for media in ("clips", "pipe", "."):
        with pytest.raises(ValueError, match="must be a regular file"):
            resolve_media(source, media)
