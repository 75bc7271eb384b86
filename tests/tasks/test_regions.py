from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from infra.errors import BadInput
from models.region_graph import RegionGraph
from tasks.params import Prepare, Regions, load_params, parse_params
from tasks.prepare import prepare
from tasks.prepared import Prepared
from tasks.regions import regions, training_events
from tasks.schema import Events, Videos
from tasks.split import HOLDOUT, TRAIN
from tasks.stage import read_json
from tests.tasks.raw_folder import NOON, events
from tests.tasks.test_params import ROOT

LIKED = Prepare.model_validate(
    {"positives": {"liked": True}, "min_viewer_events": 3, "split": "last-out", "min_holdout_viewers": 1}
)
ODD = ["Zürich, ZH", "a\nb|c", "[red]北京[/]", "../$x^2$"]
FILES = ("graph/config.json", "graph/weights.safetensors", "flows.parquet", "hot_spots.parquet", "viewers.npy")


def log(n_viewers=12, *, at=lambda viewer, step: ODD[(viewer + step // 3) % 4]):
    """Eight events a viewer, an hour apart, each on another video, of which every third is no positive."""
    rows = [
        {
            "user_id": viewer,
            "video_id": (viewer + step) % 15,
            "timestamp": NOON + timedelta(hours=step + viewer % 5),
            "liked": step % 3 != 1,
            "region": at(viewer, step),
        }
        for viewer in range(n_viewers)
        for step in range(8)
    ]
    return events(rows)


def accept(folder, table, **changes):
    """Accepted tables and what is prepared of them."""
    accepted = folder / "accepted"
    accepted.mkdir(parents=True)
    table.write_parquet(accepted / "events.parquet")
    table.select(pl.col("video_id").unique().sort()).write_parquet(accepted / "videos.parquet")
    prepare(accepted, folder / "prepared", folder / "prepare.json", params=LIKED.model_copy(update=changes), seed=1)
    return accepted, Prepared(folder / "prepared")


def leave(folder, accepted, prepared, **params):
    """What the step leaves: its facts, and bytes by file."""
    regions(accepted, prepared, folder / "regions", folder / "regions.json", params=Regions(**params))
    return read_json(folder / "regions.json"), [(folder / "regions" / name).read_bytes() for name in FILES]


def test_names_of_odd_characters_come_through(tmp_path):
    facts, _ = leave(tmp_path, *accept(tmp_path, log()))
    out = tmp_path / "regions"
    graph, flows = RegionGraph.load(out / "graph"), pl.read_parquet(out / "flows.parquet")
    assert graph.regions == tuple(sorted(ODD))
    assert set(flows["from"]) | set(flows["to"]) == set(ODD)
    assert pl.read_parquet(out / "hot_spots.parquet")["region"].unique().sort().to_list() == sorted(ODD)
    vectors = np.load(out / "viewers.npy")
    assert (vectors.shape, vectors.dtype) == ((12, 32), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert facts == {
        "regions": 4,
        "events": 12 * 4,
        "steps": 12 * 3,
        "moves": 12,
        "hot_spots": 0,
        "viewers": 12,
        "viewers_with_vector": 12,
    }


def test_events_are_read_up_to_the_newest_positive_in_training(tmp_path):
    accepted, prepared = accept(tmp_path, log())
    _, found = training_events(accepted, prepared)
    # the positives are steps 0, 2, 3, 5, 6 of which the last two are for validation and held out: 1 is no positive
    times = found.times[found.viewers == 0]
    assert ((times - times[0]) / 3_600_000).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("split", ["last-out", "time", "random", "viewers"])
def test_the_holdout_is_not_read(tmp_path, split):
    table = log(40)
    accepted, prepared = accept(tmp_path / "honest", table, split=split, holdout=0.2)
    held, train = prepared.holdout(), prepared.train()
    assert len(held.videos) > 0
    key = [Events.USER, Events.VIDEO]
    ids, videos = prepared.viewers[Events.USER], prepared.videos[Videos.ID]
    pairs = pl.DataFrame({key[0]: ids[held.viewer_of_event()], key[1]: videos[held.videos.tolist()]})
    canary = (pl.lit("canary").alias("region"), pl.col(Events.TIME) - timedelta(minutes=7))
    told = table.join(pairs, on=key, how="semi", maintain_order="left").with_columns(*canary)
    other = pl.concat([table.join(pairs, on=key, how="anti", maintain_order="left"), told])
    other.sort(Events.USER, Events.TIME).write_parquet(tmp_path / "events.parquet")
    facts, files = leave(tmp_path / "a", accepted, prepared)
    assert leave(tmp_path / "b", tmp_path, prepared) == (facts, files)
    assert facts["viewers_with_vector"] == (train.lengths > 0).sum()
    # and had the holdout been training, the canary would sing
    np.save(prepared.folder / "split.npy", np.where(prepared.split == HOLDOUT, TRAIN, prepared.split))
    assert "canary" in training_events(tmp_path, Prepared(prepared.folder))[0]


def test_the_order_of_rows_changes_no_byte(tmp_path):
    accepted, prepared = accept(tmp_path, log())
    log().sort("video_id", "region").write_parquet(tmp_path / "events.parquet")
    assert leave(tmp_path / "a", accepted, prepared) == leave(tmp_path / "b", tmp_path, prepared)


@pytest.mark.parametrize(
    "table",
    [log().drop("region"), log(at=lambda *_: None), log(at=lambda *_: "  ")],
    ids=["no column", "null", "blank"],
)
def test_without_regions_all_is_empty_and_well_formed(tmp_path, table):
    facts, _ = leave(tmp_path, *accept(tmp_path, table), dim=3)
    assert facts == dict.fromkeys(("regions", "events", "steps", "moves", "hot_spots"), 0) | {
        "viewers": 12,
        "viewers_with_vector": 0,
    }
    out = tmp_path / "regions"
    vectors = np.load(out / "viewers.npy")
    assert (vectors.shape, vectors.dtype, np.isnan(vectors).all()) == ((12, 3), np.float32, True)
    assert RegionGraph.load(out / "graph").regions == ()
    full, _ = accept(tmp_path / "full", log())
    leave(tmp_path / "full", full, Prepared(tmp_path / "full/prepared"))
    for name in ("flows.parquet", "hot_spots.parquet"):
        empty = pl.read_parquet(out / name)
        assert (empty.height, empty.schema) == (0, pl.read_parquet_schema(tmp_path / "full/regions" / name))


def test_viewers_without_a_region_have_no_vector_and_the_others_have(tmp_path):
    table = log(at=lambda viewer, step: None if viewer % 2 else ODD[step % 2])
    facts, _ = leave(tmp_path, *accept(tmp_path, table))
    vectors = np.load(tmp_path / "regions/viewers.npy")
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True] * 6
    assert facts["viewers_with_vector"] == 6


def test_one_region_alone_has_hours_to_tell_apart(tmp_path):
    facts, _ = leave(tmp_path, *accept(tmp_path, log(at=lambda *_: "here")))
    assert (facts["regions"], facts["moves"], facts["hot_spots"], facts["viewers_with_vector"]) == (1, 0, 0, 12)
    vectors = np.load(tmp_path / "regions/viewers.npy")
    assert not np.allclose(vectors[0], vectors[1])  # an hour apart


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("regions.dim=0", "regions.dim: input should be greater than or equal to 1. Received: 0"),
        ("regions.half_life_days=0", "regions.half_life_days: input should be greater than 0. Received: 0"),
        ("regions.max_gap_hours=-1", "regions.max_gap_hours: input should be greater than 0. Received: -1"),
        ("regions.size=2", "unknown key regions.size"),
    ],
)
def test_parameters_out_of_range_are_refused(override, sentence):
    with pytest.raises(BadInput, match=sentence):
        load_params(ROOT / "params.yaml", [override])


def test_no_half_life_is_a_choice():
    assert parse_params({"regions": {"half_life_days": None}}, where="here").regions.half_life_days is None
