import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from infra.errors import BadInput
from tasks.media import speech
from tasks.media.speech import Segment, Speech, _packaged
from tests.tasks.sound import sound_of

CLIPS = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips"

pytestmark = pytest.mark.skipif(not speech.available(), reason="nightreel[media] is not installed")
needs_clips = pytest.mark.skipif(not (CLIPS / "friday.mp4").is_file(), reason=f"{CLIPS} is absent (NIGHTREEL_DATA)")


@pytest.fixture(scope="module")
def ears():
    return Speech()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def words(segments):
    return "".join(each for each in " ".join(part.text for part in segments).lower() if each.isalpha() or each == " ")


@needs_clips
def test_words_of_a_film_are_heard(ears):
    """A scene of "His Girl Friday" (1940): "... in a bad humor. Somebody must have stolen the crown jewels."."""
    segments = ears.transcribe(sound_of(CLIPS / "friday.mp4"))
    heard = words(segments)
    assert "of the universe" in heard
    assert "in a bad humor" in heard
    assert "somebody must have stolen the crown" in heard
    assert [part.start for part in segments] == sorted(part.start for part in segments)
    assert all(0 <= part.start < part.end <= 6.154 for part in segments)


@needs_clips
def test_the_same_sound_gives_the_same_segments(ears):
    sound = sound_of(CLIPS / "friday.mp4")
    assert ears.transcribe(sound) == ears.transcribe(sound) == Speech().transcribe(sound)


@needs_clips
@pytest.mark.parametrize("name", ["flower", "car-detection"])
def test_a_silent_track_says_nothing(ears, name):
    assert ears.transcribe(sound_of(CLIPS / f"{name}.mp4")) == []


def tune():
    times = np.arange(160_000) / 16_000
    notes = 220 * 2 ** ((times * 2).astype(int) % 5 / 12)
    return (0.3 * np.sin(2 * np.pi * notes * times)).astype(np.float32)


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0, np.float32),
        np.full(1, 0.5, np.float32),
        np.random.default_rng(0).standard_normal(160_000).astype(np.float32) * np.float32(0.1),
        tune(),
    ],
    ids=["empty", "one sample", "noise", "tune"],
)
def test_what_is_no_speech_gives_nothing(ears, sound):
    assert ears.transcribe(sound) == []


class Heard:
    def __init__(self, text, avg_logprob=-0.5, no_speech_prob=0.1, compression_ratio=1.2, start=0.0, end=0.5):
        self.start, self.end, self.text = start, end, text
        self.avg_logprob, self.no_speech_prob, self.compression_ratio = avg_logprob, no_speech_prob, compression_ratio


def test_words_that_the_model_does_not_believe_in_or_that_lie_behind_the_sound_are_dropped(monkeypatch):
    class Doubting:
        def __init__(self, *_, **__):
            self.model = self
            self.is_multilingual = True

        def transcribe(self, sound, *, language, **_):
            assert language is None
            heard = [Heard(" kept "), Heard("a", avg_logprob=-1.1), Heard("b", no_speech_prob=0.9)]
            heard += [Heard("la la la la", compression_ratio=3.0), Heard("  ")]
            return [*heard, Heard("to the end", end=1.3), Heard("behind it", start=1.0, end=1.3)], None

    monkeypatch.setattr("faster_whisper.WhisperModel", Doubting)
    assert Speech().transcribe(np.ones(16_000, np.float32)) == [
        Segment(0.0, 0.5, "kept"),
        Segment(0.0, 1.0, "to the end"),
    ]


def test_the_digest_is_of_the_model_and_the_way_of_listening(ears, tmp_path, monkeypatch):
    folder = tmp_path / "whisper"
    shutil.copytree(_packaged(), folder)
    assert Speech(folder).digest == ears.digest
    (folder / "config.json").write_text("{}")
    assert Speech(folder).digest != ears.digest
    assert (Speech(folder).licence, ears.licence) == ("unknown", "MIT")
    monkeypatch.setattr(speech, "MOST_NO_SPEECH", 0.5)
    assert Speech().digest != ears.digest


def test_a_folder_without_its_tokenizer_is_refused_rather_than_completed_from_a_hub(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(BadInput, match=r"must be a Whisper model for CTranslate2\. It lacks tokenizer\.json\."):
        Speech(tmp_path)


def test_a_broken_model_is_told(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"\x80\x04pickle or anything else")
    with pytest.raises(BadInput, match="cannot be opened as a Whisper model"):
        Speech(tmp_path).transcribe(np.ones(16_000, np.float32))


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(speech, "find_spec", lambda name: None)
    assert not speech.available()
    with pytest.raises(BadInput, match=r"install nightreel\[media\]"):
        Speech()
