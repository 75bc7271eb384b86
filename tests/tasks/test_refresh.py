"""A release's next generation: same towers, the whole catalogue. Titles are MovieLens' and the encoder is real."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import yaml
from safetensors.numpy import save_file

from infra.errors import Refused
from infra.stores import FolderStore
from lineage.manifest import build
from lineage.recorded import REFRESH
from lineage.releases import Releases
from models.catalogue import load
from models.embedded import VIDEOS
from models.params import RerankParams, TagsParams
from models.search import Index, space_id
from tasks.encode import encode, text_encoder, whole_catalogue
from tasks.index import dense_settings
from tasks.params import Params, Refresh
from tasks.recommend import Bundle
from tasks.refresh import Kept, grown, refresh
from tasks.rerank import Reranking
from tasks.shelves import Shelves
from tasks.split import TRAIN
from tasks.tag import tag
from tasks.train import train
from tests.lineage.test_manifest import FACTS
from tests.tasks.prepared_folder import leave_prepared

TITLES = [
    "Toy Story (1995)",
    "Jumanji (1995)",
    "Heat (1995)",
    "GoldenEye (1995)",
    "Casino (1995)",
    "Toy Story 2 (1999)",
]
NEW = ["Toy Story 3 (2010)", "Casino Royale (2006)"]
PARAMS = Params(name="files", candidates=[], content_candidates=["content"], seed=7)
SOURCE = {"as_of": "2016-10-16", "sha256": "c" * 64, "origins": ["videos.csv"]}
LOOSE = Refresh(min_coverage=0.1, max_moved=1.0)


def catalogue_of(titles):
    return pl.DataFrame({"video_id": list(range(1000, 1000 + len(titles))), "title": titles})


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    return Kept(Shelves.at(store, home), home / "work")


@pytest.fixture(scope="module")
def live(tmp_path_factory, kept):
    """A release as a night leaves it: the vocabulary's six videos, five of them watched."""
    root = tmp_path_factory.mktemp("night")
    prepared = leave_prepared(root / "prepared", [[0, 1, 4], [2, 3, 4], [5, 0, 1]], [[TRAIN] * 3] * 3)
    videos = prepared.videos.join(catalogue_of(TITLES), on="video_id").sort("first_seen", "video_id")
    videos.write_parquet(root / "prepared/videos.parquet")
    catalogue = whole_catalogue(videos, catalogue_of(TITLES))
    encode(catalogue, root / "encoded", params=PARAMS.encode, shelves=kept.shelves)
    folder = root / "release"
    train(
        "content",
        root / "prepared",
        folder / "model",
        root / "train.json",
        params=PARAMS,
        checkpoints=root / "checkpoints",
        encoded=root / "encoded",
    )
    vectors = load("content", folder / "model").video_vectors()
    Index.build(vectors, dense_settings(PARAMS.index), space=space_id(folder / "model"), seed=7).save(folder / "index")
    catalogue.write_parquet(folder / "vocabulary.parquet")
    shutil.copy(root / "prepared/viewers.parquet", folder)
    shutil.copytree(root / "prepared/sequences", folder / "sequences")
    (folder / "record").mkdir()
    (folder / "record/params.yaml").write_text(yaml.safe_dump(PARAMS.model_dump(mode="json")))
    return folder


def manifest_of(folder):
    return build(folder, FACTS.model_copy(update={"candidate": "content", "space": space_id(folder / "model")}))


def refreshed(live, kept, titles, params=LOOSE):
    return refresh(live, manifest_of(live), catalogue_of(titles), kept, params=params, source=SOURCE)


def test_new_videos_are_recommended_by_the_same_towers(live, kept):
    out, manifest = refreshed(live, kept, TITLES + NEW)
    assert manifest.space == space_id(live / "model") == space_id(out / "model")
    before = load("content", live / "model").video_vectors()
    after = load("content", out / "model").video_vectors()
    np.testing.assert_array_equal(after[:6], before)
    assert len(after) == 8
    shown = Bundle(out, "content").recommend("u2", k=3).videos
    assert shown[0]["title"] in ("Toy Story 3 (2010)", "Casino Royale (2006)")
    assert {video["title"] for video in shown} & set(NEW) == set(NEW)
    untouched = {"viewers.parquet", "sequences/offsets.npy", "model/weights.safetensors", "model/config.json"}
    assert {name for name in untouched if manifest.parts[name] != manifest_of(live).parts[name]} == set()


def test_the_next_generation_re_ranks_as_the_one_before(live, kept, tmp_path):
    plain = Bundle(refreshed(live, kept, TITLES + NEW)[0], "content").recommend("u2", k=5).videos
    shutil.copytree(live, tmp_path / "live")
    Reranking(rules=RerankParams(explore_slots=1), seed=1, fresh_since=0).save(tmp_path / "live")
    out, manifest = refreshed(tmp_path / "live", kept, TITLES + NEW)
    assert (out / "rerank.json").read_bytes() == (tmp_path / "live/rerank.json").read_bytes()
    assert "rerank.json" in manifest.parts
    shown = Bundle(out, "content").recommend("u2", k=3).videos
    assert shown[:2] == plain[:2]
    assert shown[2] in plain[3:]  # all but one of the five unseen are rare


def test_what_has_every_video_as_it_is_now_is_left_alone(live, kept):
    assert refreshed(live, kept, TITLES) is None


def test_a_refresh_again_is_the_same_bytes(live, kept):
    first = refreshed(live, kept, TITLES + NEW)[1]
    assert refreshed(live, kept, TITLES + NEW)[1].release == first.release


def test_a_changed_title_moves_that_video_alone(live, kept):
    out, _ = refreshed(live, kept, ["Toy Story, restored (1995)", *TITLES[1:]])
    before, after = (load("content", folder / "model").video_vectors() for folder in (live, out))
    row = pl.read_parquet(live / "vocabulary.parquet")["video_id"].to_list().index(1000)
    assert [at for at in range(6) if (before[at] != after[at]).any()] == [row]


def test_generations_are_counted_and_name_their_model(live, kept, tmp_path):
    first, one = refreshed(live, kept, TITLES + NEW[:1])
    first = shutil.copytree(first, tmp_path / "first")
    second, _ = refresh(first, one, catalogue_of(TITLES + NEW), kept, params=LOOSE, source=SOURCE)
    told = json.loads((second / REFRESH).read_text())
    assert (told["generation"], told["refreshed_from"]) == (3, one.release)
    assert told["model_release"] == manifest_of(live).release


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (Refresh(min_coverage=1.0, max_moved=1.0), "coverage must be at least 1, is 0.888889"),
        (Refresh(max_moved=0.0, neighbours=2), r"moved must be at most 0, is "),
    ],
)
def test_a_generation_that_breaks_a_bound_is_refused(live, kept, params, said):
    titles = [TITLES[3], TITLES[4], TITLES[5], TITLES[0], TITLES[2], TITLES[1], *NEW, ""]
    with pytest.raises(Refused, match=said):
        refreshed(live, kept, titles, params)


def test_towers_do_not_embed_what_another_encoder_made(live, kept, tmp_path):
    other = shutil.copytree(live, tmp_path / "live")
    text = PARAMS.encode.text.model_copy(update={"max_tokens": 16})
    changed = PARAMS.model_copy(update={"encode": PARAMS.encode.model_copy(update={"text": text})})
    (other / "record/params.yaml").write_text(yaml.safe_dump(changed.model_dump(mode="json")))
    with pytest.raises(Refused, match="text must come from the encoder that the towers were trained on"):
        refreshed(other, kept, TITLES + NEW)


def test_new_videos_are_tagged_by_what_learnt_the_live_tags(live, kept, tmp_path):
    told = pl.DataFrame({"title": TITLES, "category": ["toys", "crime", "crime", "crime", "crime", "toys"]})
    catalogue = pl.read_parquet(live / "vocabulary.parquet").join(told, on="title", how="left", maintain_order="left")
    params = PARAMS.model_copy(update={"tags": TagsParams(min_videos=2, most=1)})
    tagged = shutil.copytree(live, tmp_path / "tagged")
    encode(catalogue, tmp_path / "encoded", params=PARAMS.encode, shelves=kept.shelves)
    tag(tmp_path / "encoded", params=params.tags, encoder=text_encoder(PARAMS.encode.text, kept.shelves.encoders))
    for name in ("tags.parquet", "tagger/config.json", "tagger/weights.safetensors"):
        (tagged / name).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / "encoded" / name, tagged / name)
    catalogue.write_parquet(tagged / "vocabulary.parquet")
    (tagged / "record/params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    now = catalogue_of(TITLES + NEW).join(told, on="title", how="left", maintain_order="left")
    out, _ = refresh(tagged, manifest_of(tagged), now, kept, params=LOOSE, source=SOURCE)
    found = pl.read_parquet(out / "tags.parquet").sort("video_id").select("video_id", "tag", "how")
    assert found.rows()[:6] == [(1000 + at, name, "given") for at, name in enumerate(told["category"])]
    assert found.rows()[6:] == [(1006, "toys", "learnt"), (1007, "crime", "learnt")]


@pytest.fixture
def mixed(live, tmp_path):
    """The release with a table of the right shape that other towers made."""
    folder = shutil.copytree(live, tmp_path / "mixed")
    vectors = load("content", live / "model").video_vectors()
    save_file({"vectors": vectors}, folder / "model" / VIDEOS, metadata={"space": "d" * 64})
    return folder


def test_a_mixed_space_is_not_served(mixed):
    with pytest.raises(ValueError, match="Towers and embedded videos must share one embedding space"):
        Bundle(mixed, "content").answer_somebody()


def test_an_index_of_another_space_is_not_released(live, tmp_path):
    folder = shutil.copytree(live, tmp_path / "mixed")
    told = json.loads((folder / "index/index.json").read_text()) | {"space": "d" * 64}
    (folder / "index/index.json").write_text(json.dumps(told))
    with pytest.raises(Refused, match=r"Model and index of release .* are of different embedding spaces"):
        Releases(FolderStore(tmp_path / "store"), tmp_path / "cache").publish(folder, manifest_of(folder))


def test_a_catalogue_grows_at_its_end():
    before = pl.DataFrame(
        {"video_id": [3, 1, 2], "title": ["c", "a", "b"], "first_seen": [1, 2, None], "train_events": [5, 4, 0]}
    )
    now = pl.DataFrame({"video_id": [5, 1, 4, 3], "title": ["e", "A", None, "c"], "author_id": ["x", None, None, "y"]})
    assert grown(before, now).rows() == [
        (3, "c", 1, 5, "y"),
        (1, "A", 2, 4, None),
        (2, "b", None, 0, None),
        (4, None, None, 0, None),
        (5, "e", None, 0, "x"),
    ]
