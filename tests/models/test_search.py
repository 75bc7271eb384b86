import json

import numpy as np
import pytest
import scipy.sparse as sp

from models.faiss_index import DenseSettings
from models.ranking import top_k
from models.search import Index, recall, space_id
from models.weights import save_weights
from tests.tasks.prepared_folder import sequences

DRAW = np.random.default_rng(0)
VIDEOS = DRAW.normal(size=(3000, 24)).astype(np.float32)
VIEWERS = DRAW.normal(size=(60, 24)).astype(np.float32)
SEEN = sequences(*[DRAW.choice(3000, 30).tolist() for _ in range(60)])


def settings(kind="auto", **changed):
    standard = {"exact_up_to": 100_000, "hnsw_links": 32, "hnsw_search": 128, "ivf_lists": 50, "ivf_probes": 25}
    return DenseSettings(kind=kind, **(standard | changed))


@pytest.fixture
def model(tmp_path):
    """A folder with a model's two files: all that an index asks of it."""
    save_weights(tmp_path / "model", recommender="sasrec", arrays={"w": np.arange(3.0)}, config={})
    return tmp_path / "model"


def through_disk(vectors, model, folder, kind="auto", **changed):
    Index.build(vectors, settings(kind, **changed), space=space_id(model), seed=7).save(folder)
    return Index.load(folder, model=model)


@pytest.mark.parametrize(("kind", "floor"), [("exact", 1.0), ("hnsw", 0.9), ("ivf", 0.9)])
def test_each_kind_finds_what_exact_search_finds(model, tmp_path, kind, floor):
    index = through_disk(VIDEOS, model, tmp_path / "index", kind)
    found, scores = index.search(VIEWERS, seen=SEEN, k=10)
    exact = top_k(VIEWERS, VIDEOS, SEEN, 10)
    assert recall(found, VIEWERS, VIDEOS, exact=exact) >= floor
    np.testing.assert_allclose(scores, np.einsum("vd,vkd->vk", VIEWERS, VIDEOS[found]), rtol=1e-4)
    assert not any(np.isin(found[viewer], SEEN.of(viewer)).any() for viewer in range(60))
    assert json.loads((tmp_path / "index" / "index.json").read_text()) == {
        "dim": 24,
        "kind": kind,
        "space": space_id(model),
        "videos": 3000,
    }


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_an_index_of_one_video_finds_it_or_nothing(model, tmp_path, kind):
    index = through_disk(VIDEOS[:1], model, tmp_path / "index", kind)
    assert index.search(VIEWERS[:2], seen=sequences([], [0]), k=3)[0].tolist() == [[0, -1, -1], [-1] * 3]


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_equal_vectors_and_seed_give_equal_bytes(model, tmp_path, kind):
    for name in ("one", "two"):
        through_disk(VIDEOS, model, tmp_path / name, kind)
    for file in ("index.faiss", "index.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_auto_is_exact_up_to_a_size_and_a_graph_beyond(model, tmp_path):
    assert through_disk(VIDEOS[:100], model, tmp_path / "a", exact_up_to=100).facts.kind == "exact"
    assert through_disk(VIDEOS[:101], model, tmp_path / "b", exact_up_to=100).facts.kind == "hnsw"


def test_sparse_vectors_become_an_inverted_index_that_is_exact(model, tmp_path):
    videos = sp.random_array((200, 200), density=0.05, rng=1, dtype=np.float32, format="csr")
    viewers = sp.random_array((40, 200), density=0.05, rng=2, dtype=np.float32, format="csr")
    seen = sequences(*[DRAW.choice(200, 5).tolist() for _ in range(40)])
    index = through_disk(videos, model, tmp_path / "index")
    assert index.facts.kind == "inverted"
    for mine, exact in zip(index.search(viewers, seen=seen, k=10), top_k(viewers, videos, seen, 10), strict=True):
        np.testing.assert_array_equal(mine, exact)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_fewer_unseen_videos_than_asked_for_leave_places_empty(model, tmp_path, kind):
    index = through_disk(VIDEOS[:4], model, tmp_path / "index", kind)
    found, scores = index.search(VIEWERS[:2], seen=sequences([0, 1, 1], [0, 1, 2, 3]), k=3)
    assert sorted(found[0][:2].tolist()) == [2, 3]
    assert found[:, 2].tolist() == [-1, -1]
    assert found[1].tolist() == [-1, -1, -1]
    assert np.isneginf(scores[found < 0]).all()


def test_an_index_is_refused_beside_the_model_of_another_space(model, tmp_path):
    through_disk(VIDEOS, model, tmp_path / "index")
    save_weights(model, recommender="sasrec", arrays={"w": np.arange(1.0, 4.0)}, config={})
    with pytest.raises(ValueError, match="must share one embedding space"):
        Index.load(tmp_path / "index", model=model)


def test_the_space_is_of_weights_and_config(model):
    first = space_id(model)
    assert first == space_id(model)
    save_weights(model, recommender="sasrec", arrays={"w": np.arange(3.0)}, config={"dim": 2})
    assert space_id(model) != first
    (model / "config.json").unlink()
    with pytest.raises(ValueError, match=r"must hold weights.safetensors and config.json"):
        space_id(model)


def test_vectors_of_another_size_or_kind_are_refused(model, tmp_path):
    index = through_disk(VIDEOS, model, tmp_path / "index")
    with pytest.raises(ValueError, match=r"exact index takes vectors \[viewers, 24\]. Received: dense \(1, 23\)"):
        index.search(VIEWERS[:1, :23], seen=sequences([]), k=3)
    with pytest.raises(ValueError, match="sparse"):
        index.search(sp.csr_array(VIEWERS[:1]), seen=sequences([]), k=3)


@pytest.mark.parametrize("damage", ["index.json", "index.faiss"])
def test_a_damaged_index_is_refused_by_name(model, tmp_path, damage):
    through_disk(VIDEOS, model, tmp_path / "index")
    (tmp_path / "index" / damage).write_bytes(b"no index")
    with pytest.raises(ValueError, match=damage):
        Index.load(tmp_path / "index", model=model)


def test_recall_counts_places_filled_as_well_and_any_of_videos_that_tie():
    viewers, videos = np.ones((1, 1), np.float32), np.array([[3], [2], [2], [1]], np.float32)
    exact = top_k(viewers, videos, sequences([]), 2)
    assert recall(np.array([[0, 1]], np.int32), viewers, videos, exact=exact) == 1
    assert recall(np.array([[0, 2]], np.int32), viewers, videos, exact=exact) == 1
    assert recall(np.array([[0, 3]], np.int32), viewers, videos, exact=exact) == 0.5
    assert recall(np.array([[-1, -1]], np.int32), viewers, videos, exact=exact) == 0
