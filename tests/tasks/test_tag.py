import json

import numpy as np
import polars as pl
import pytest

from models.params import TagsParams
from models.tags import FineTuned
from tasks.encoded import CATALOGUE, FACTS
from tasks.tag import held_out, tag, tag_table

PARAMS = TagsParams(l2=1e-4, min_videos=3)
COLUMNS = ["video_id", "tag", "score", "how"]


class ByFirstLetter:
    """A text encoder of names: one direction for each first letter."""

    dim, digest, licence = 3, "letters", "MIT"

    def encode(self, batch):
        return np.array([np.eye(3)["cdf".index(text[0])] for text in batch], np.float32)


def leave_encoded(folder, catalogue, **tables):
    folder.mkdir(exist_ok=True)
    pl.DataFrame(catalogue).write_parquet(folder / CATALOGUE)
    for name, table in tables.items():
        np.save(folder / f"{name}.npy", np.array(table, np.float32))
    told = {name: {"dim": len(table[0]), "encoder": name, "licence": "MIT"} for name, table in tables.items()}
    (folder / FACTS).write_text(json.dumps({"modalities": told}))
    return folder


def animals(n=60, *, unknown=4):
    """`n` videos whose text says what they are; the last `unknown` of them have no category, and the last no text."""
    rng = np.random.default_rng(0)
    names = [("cat", "dog", "fish")[at % 3] for at in range(n)]
    text = ByFirstLetter().encode(names) + rng.normal(scale=0.1, size=(n, 3))
    text[-1] = np.nan
    category = names[:-unknown] + [None] * unknown
    return names, {"video_id": list(range(n)), "category": category}, text


@pytest.fixture
def ran(tmp_path):
    names, catalogue, text = animals()
    encoded = leave_encoded(tmp_path / "encoded", catalogue, text=text)
    figures = tag(encoded, params=PARAMS, encoder=ByFirstLetter())
    return names, figures, pl.read_parquet(tmp_path / "encoded" / "tags.parquet"), tmp_path


def test_videos_keep_their_category_and_others_are_given_one(ran):
    names, _, table, _ = ran
    assert table.columns == COLUMNS
    assert table.schema["score"] == pl.Float32
    first = table.group_by("video_id", maintain_order=True).first()
    assert first["video_id"].to_list() == list(range(59))  # the last has neither category nor content
    assert first["tag"].to_list() == names[:59]
    assert first["how"].to_list() == ["given"] * 56 + ["learnt"] * 3
    assert table.filter(pl.col("how") == "given")["score"].unique().to_list() == [1.0]


def test_the_figures_hold_the_tagger_against_majority_and_names(ran):
    _, figures, _, folder = ran
    assert json.loads((folder / "encoded" / "tags.json").read_text()) == figures
    assert figures["macro_f1"]["learnt"] == figures["macro_f1"]["zero_shot"] == 1.0
    assert figures["macro_f1"]["majority"] < 0.3
    assert figures["held_out"] + figures["learnt_from"] == 56
    assert figures["tagged"] == {"given": 56, "learnt": 3}


def test_the_tagger_is_kept_with_what_it_learnt(ran):
    assert FineTuned.load(ran[3] / "encoded" / "tagger").labels == ("cat", "dog", "fish")


def test_two_runs_leave_the_same_bytes(ran, tmp_path):
    files = ["tags.parquet", "tagger/weights.safetensors", "tagger/config.json"]
    before = {name: (tmp_path / "encoded" / name).read_bytes() for name in files}
    tag(tmp_path / "encoded", params=PARAMS, encoder=ByFirstLetter())
    assert {name: (tmp_path / "encoded" / name).read_bytes() for name in files} == before


def test_without_categories_the_catalogues_tags_are_said_by_name(tmp_path):
    catalogue = {"video_id": ["a", "b", "c", "d"], "tags": [["dog", "dog"], ["cat", "fish"], [], None]}
    text = [[0, 1, 0], [1, 0, 0], [0.9, 0.1, 0], [0, 0.1, 0.9]]
    encoded = leave_encoded(tmp_path / "encoded", catalogue, text=text)
    figures = tag(encoded, params=PARAMS, encoder=ByFirstLetter())
    table = pl.read_parquet(tmp_path / "encoded" / "tags.parquet")
    first = table.group_by("video_id", maintain_order=True).first()
    assert first["tag"].to_list() == ["dog", "cat", "cat", "fish"]
    assert first["how"].to_list() == ["given", "given", "zero-shot", "zero-shot"]
    assert table.filter(video_id="a")["tag"].to_list() == ["dog"]
    assert figures == {"videos": 4, "tagged": {"given": 2, "zero-shot": 2}}


@pytest.mark.parametrize("columns", [{}, {"tags": [[], []]}, {"category": [None, None]}])
def test_a_catalogue_without_anything_to_say_is_left_untagged(tmp_path, columns):
    encoded = leave_encoded(tmp_path / "encoded", {"video_id": [1, 2]} | columns, text=[[1, 0, 0], [0, 1, 0]])
    figures = tag(encoded, params=PARAMS, encoder=ByFirstLetter())
    assert figures == {"videos": 2, "tagged": {}}
    assert pl.read_parquet(tmp_path / "encoded" / "tags.parquet").columns == COLUMNS


def test_without_any_content_what_is_given_stays(tmp_path):
    encoded = leave_encoded(tmp_path / "encoded", {"video_id": [1, 2], "category": ["cat", None]})
    figures = tag(encoded, params=PARAMS, encoder=None)
    assert figures == {"videos": 2, "tagged": {"given": 1}}


def test_rare_categories_are_not_learnt(tmp_path):
    _, catalogue, text = animals()
    catalogue["category"][0] = "newt"
    encoded = leave_encoded(tmp_path / "encoded", catalogue, text=text)
    tag(encoded, params=PARAMS, encoder=None)
    assert FineTuned.load(tmp_path / "encoded" / "tagger").labels == ("cat", "dog", "fish")
    assert pl.read_parquet(tmp_path / "encoded" / "tags.parquet")["tag"][0] == "newt"


def test_at_most_so_many_tags_are_said_and_none_below_the_score():
    catalogue = pl.DataFrame({"video_id": [1, 2]})
    scores = np.array([[0.1, 0.6, 0.3], [0.02, 0.03, 0.95]], np.float32)
    table = tag_table(catalogue, "learnt", ["a", "b", "c"], scores, most=2, min_score=0.05)
    assert table.select("video_id", "tag").rows() == [(1, "b"), (1, "c"), (2, "c")]


def test_who_is_held_out_depends_on_the_id_alone():
    some, more = pl.Series(range(1000)), pl.Series(range(500, 2000))
    np.testing.assert_array_equal(held_out(some, 0.2)[500:], held_out(more, 0.2)[:500])
    assert 0.15 < held_out(some, 0.2).mean() < 0.25
