import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from infra.errors import BadInput
from models.encoders.frames import open_frame_encoder
from models.params import Learn, TunedFramesParams, TunedTextParams
from tasks.cut_clips import PICTURES
from tasks.learn import learn
from tasks.learn_job import Job
from tasks.params import Text
from tests.models.test_tuned_frames import save_network

# Keras 3 asks NumPy 2 for a model's weights in a deprecated way when it saves them
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
VIDEOS, SIDE = 60, 32
PARAMS = TunedFramesParams(
    layers=1, epochs=4, batch_size=8, learning_rate=0.01, head_epochs=4, min_videos=5, valid=0.2, held_out=0.3
)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Videos in which red or green is brighter, in files of their own but for two that share one."""
    root = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    (root / "clips" / PICTURES).mkdir(parents=True)
    colours = np.arange(VIDEOS) % 2
    for at, colour in enumerate(colours):
        pictures = rng.integers(0, 200, (4, SIDE, SIDE, 3))
        pictures[..., colour] += 30
        np.save(root / "clips" / PICTURES / f"content{at}.npy", pictures.astype(np.uint8))
    rows = [(f"v{at}", ["red", "green"][colour], f"content{at}") for at, colour in enumerate(colours)]
    rows += [("w-again", "red", "content0"), ("x-none", "red", None), ("y-broken", "red", "unread")]
    columns = {"video_id": pl.String, "category": pl.String, "media_digest": pl.String}
    pl.DataFrame(rows, schema=columns, orient="row").write_parquet(root / "catalogue.parquet")
    return Job(
        clips=root / "clips",
        catalogue=root / "catalogue.parquet",
        prepared=root / "prepared",
        out=root / "out",
        params=Learn(tuned_frames=PARAMS),
        text=Text(),
        frames=save_network(root / "small.keras"),
        seed=0,
        checkpoints=root / "checkpoints",
        cache=root / "cache",
    )


def test_a_frame_encoder_is_tuned_on_categories_and_opens_by_its_path(job, tmp_path):
    figures = learn("tuned-frames", job, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == figures
    assert figures["categories"] == ["green", "red"]
    assert figures["measure"]["texts"] == figures["baseline"]["pretrained"]["texts"] == 21
    assert figures["measure"]["accuracy"] >= figures["baseline"]["pretrained"]["accuracy"]
    assert figures["passed"], figures["checks"]
    opened = open_frame_encoder(str(job.out / "encoder.keras"))
    assert opened.digest == figures["digest"]
    assert opened.digest != open_frame_encoder(job.frames).digest
    assert not job.checkpoints.exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames": None}, "There is no frame encoder: encode.media.frames is null"),
        ({"clips": "nowhere"}, "The catalogue has no pictures with categories"),
        ({"least": 31}, "Two categories must have 31 pictures each. Received: 0"),
    ],
)
def test_where_there_is_nothing_to_learn_from_nothing_passes(job, tmp_path, changes, reason):
    if "clips" in changes:
        changes = {"clips": tmp_path / changes["clips"]}
    if "least" in changes:
        changes = {"params": Learn(tuned_frames=PARAMS.model_copy(update={"min_videos": changes["least"]}))}
    figures = learn("tuned-frames", replace(job, out=tmp_path / "out", **changes), tmp_path / "m.json")
    assert (figures["passed"], figures["checks"][0]["reason"]) == (False, reason)
    assert list((tmp_path / "out").iterdir()) == []


def test_too_few_videos_for_three_parts_are_told(job, tmp_path):
    rows = pl.read_parquet(job.catalogue)[:4]
    rows.write_parquet(tmp_path / "catalogue.parquet")
    params = Learn(tuned_frames=PARAMS.model_copy(update={"min_videos": 2, "valid": 0.01}))
    few = replace(job, catalogue=tmp_path / "catalogue.parquet", out=tmp_path / "out", params=params)
    figures = learn("tuned-frames", few, tmp_path / "m.json")
    assert figures["checks"][0]["reason"] == "Too few pictures for three parts. Received: 4"


def test_faults_of_parameters_and_files_are_told(job, tmp_path):
    def run(**changes):
        learn("tuned-frames", replace(job, out=tmp_path / "out", **changes), tmp_path / "m.json")

    with pytest.raises(BadInput, match=r"learn\.tuned_frames: layers must lie in 1\.\.3\. Received: layers=9"):
        run(params=Learn(tuned_frames=PARAMS.model_copy(update={"layers": 9})))
    with pytest.raises(BadInput, match="The frame encoder must be efficientnet-lite0 or a path that exists"):
        run(frames="nowhere.keras")
    broken = tmp_path / "clips"
    (broken / PICTURES).mkdir(parents=True)
    for at in range(VIDEOS):
        (broken / PICTURES / f"content{at}.npy").write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadInput, match=r"content\d+\.npy must hold pictures as an array"):
        run(clips=broken)


def test_a_text_encoder_that_is_nowhere_is_told(job, tmp_path):
    rows = pl.read_parquet(job.catalogue).with_columns(title=pl.col("category"))
    rows.write_parquet(tmp_path / "catalogue.parquet")
    lost = replace(
        job,
        catalogue=tmp_path / "catalogue.parquet",
        out=tmp_path / "out",
        text=Text(model=str(tmp_path / "bert")),
        params=Learn(tuned_text=TunedTextParams()),
    )
    with pytest.raises(BadInput, match="bert"):
        learn("tuned-text", lost, tmp_path / "m.json")
