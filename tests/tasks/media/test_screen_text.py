import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from infra.errors import BadInput
from tasks.media import screen_text
from tasks.media.screen_text import Line, ScreenText

CLIPS = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips"

pytestmark = pytest.mark.skipif(not screen_text.available(), reason="nightreel[media] is not installed")


@pytest.fixture(scope="module")
def eyes():
    return ScreenText()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def still(*lines, ink="white"):
    picture = Image.new("RGB", (640, 360), (20, 60, 20))
    font = ImageFont.load_default(size=42)
    for at, text in enumerate(lines):
        ImageDraw.Draw(picture).text((40, 60 + 130 * at), text, font=font, fill=ink)
    return np.asarray(picture)


def test_lines_are_read_from_top_to_bottom(eyes):
    lines = eyes.read([still(), still("Breaking news tonight", "Watch until 23:45")])
    assert [(line.still, line.text) for line in lines] == [(1, "Breaking news tonight"), (1, "Watch until 23:45")]
    assert all(0.9 < line.score <= 1 for line in lines)
    assert lines == ScreenText().read([still(), still("Breaking news tonight", "Watch until 23:45")])


def test_a_line_that_comes_again_is_told_once(eyes):
    lines = eyes.read([still("Breaking news tonight"), still("BREAKING NEWS: TONIGHT", "Weather at nine")])
    assert [(line.still, line.text) for line in lines] == [(0, "Breaking news tonight"), (1, "Weather at nine")]


def test_colours_are_in_the_order_of_stills(eyes, monkeypatch):
    seen = []
    monkeypatch.setattr(eyes, "_reader", lambda picture: seen.append(picture) or Found())
    eyes.read([np.full((4, 4, 3), (1, 2, 3), np.uint8)])
    assert seen[0][0, 0].tolist() == [3, 2, 1]


class Found:
    def __init__(self, *lines):
        self.txts = tuple(text for text, _ in lines) or None
        self.scores = tuple(score for _, score in lines) or None


def test_doubtful_lines_and_single_characters_are_dropped(eyes, monkeypatch):
    found = Found(("9", 0.94), ("ch", 0.65), ("--", 0.99), (" 好吃 ", 0.9), ("ok", 0.8))
    monkeypatch.setattr(eyes, "_reader", lambda picture: found)
    assert eyes.read([still()]) == [Line(0, "好吃", 0.9), Line(0, "ok", 0.8)]


@pytest.mark.skipif(not (CLIPS / "friday.mp4").is_file(), reason=f"{CLIPS} is absent (NIGHTREEL_DATA)")
@pytest.mark.parametrize("name", ["friday", "flower", "car-detection"])
def test_pictures_without_writing_say_nothing(eyes, name):
    av = pytest.importorskip("av")
    with av.open(str(CLIPS / f"{name}.mp4")) as container:
        frames = [frame for at, frame in enumerate(container.decode(video=0)) if at in (0, 90)]
    assert eyes.read([frame.to_ndarray(format="rgb24") for frame in frames]) == []


def test_the_digest_is_of_the_weights_and_what_is_dropped(eyes, monkeypatch):
    assert eyes.digest == ScreenText().digest
    assert len(eyes.digest) == 64
    monkeypatch.setattr(screen_text, "LEAST_SCORE", 0.7)
    assert ScreenText().digest != eyes.digest


def test_missing_weights_are_told_rather_than_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(screen_text, "_package", lambda: tmp_path)
    with pytest.raises(BadInput, match=r"rapidocr must carry PP-OCRv6_det_small\.onnx, PP-OCRv6_rec_small\.onnx"):
        ScreenText()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(screen_text, "find_spec", lambda name: None)
    assert not screen_text.available()
    with pytest.raises(BadInput, match=r"install nightreel\[media\]"):
        ScreenText()
