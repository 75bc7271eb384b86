"""The live release on real KuaiRand days after its training: measured, charted, and taken back on evidence."""

import json
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.settings import Settings
from lineage.attestation import Origin, attest
from lineage.books import Books
from lineage.ledger import Draft, Entry
from lineage.manifest import build
from lineage.windows import evidence_key, get_evidence
from models.faiss_index import DenseSettings
from models.params import PopularityParams
from models.popularity import Popularity
from models.search import Index, space_id
from tests.flows.end_state import query
from tests.flows.project import last_json, run_cli, said, start_cli
from tests.flows.test_replay import KUAIRAND

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not KUAIRAND.exists(), reason=f"the KuaiRand log is not at {KUAIRAND} (set NIGHTREEL_DATA)"),
]

SOURCE = ("--source", "kuairand", "--path", str(KUAIRAND))
LAST = 14  # of April, the last day that the release knows
AFTER_THREE = ("--set", "monitor.rollback={below: 0.5, windows: 3}")
# viewers judged and NDCG@10 of the release and of popularity, by day
DAYS = {15: (522, 0.025016, 0.008458), 16: (554, 0.007629, 0.004821)}


@dataclass(frozen=True)
class Watched:
    """A project with a live release."""

    project: Path

    def monitor(self, day: int, *words: str, code: int = 0) -> Any:
        done = run_cli(self.project, "monitor", *SOURCE, "--as-of", f"2022-04-{day}", *words, "--json")
        assert done.returncode == code, said(done)
        return last_json(done.stdout)

    @property
    def books(self) -> Books:
        return Books(Settings(home=self.project / ".nightreel"), "kuairand", True)

    def plant(self, folder: Path, *, popular: bool) -> Entry:
        """Make a release live that lists the most popular videos, or else those that nobody watches any more."""
        head = self.books.ledger.head()
        shutil.copytree(self.books.releases.open(head.release), folder)
        candidate = self.books.releases.manifest(head.release).candidate
        shutil.rmtree(folder / "index")
        for made in ("train", "evaluate"):
            (folder / f"record/{made}-{candidate}.json").replace(folder / f"record/{made}-popularity.json")
        videos = pl.read_parquet(folder / "vocabulary.parquet")
        log = pl.concat([pl.read_csv(file) for file in KUAIRAND.glob("log_standard*.csv")])
        still = log.filter(pl.col("date") > 20220400 + LAST)["video_id"].unique()
        scores = videos["train_events"] if popular else ~videos["video_id"].is_in(still.implode())
        model = Popularity(PopularityParams(half_life_days=None))
        model._counts = scores.cast(pl.Float32).to_numpy()
        shutil.rmtree(folder / "model")
        model.save(folder / "model")
        space, settings = space_id(folder / "model"), DenseSettings("auto", 100_000, 32, 128, 1024, 32)
        Index.build(model.video_vectors(), settings, space=space, seed=0).save(folder / "index")
        before = self.books.releases.manifest(head.release)
        facts = before.model_dump(exclude={"parts"}) | {"candidate": "popularity", "space": space}
        manifest = build(folder, type(before).__base__.model_validate(facts))
        release = self.books.releases.publish(folder, manifest)
        attest(self.books.store, self.books.signer, folder, manifest, Origin("planted", head.commit, True))
        known = head.model_dump(include={"model_version", "verdict", "commit"})
        draft = Draft(
            action="release", release=release, run=f"planted {popular}", by="tests", reason="planted", **known
        )
        return self.books.ledger.append(draft, after=head)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, template: Path, prefect_server: str) -> Watched:
    """One night that knows the log up to the fourteenth."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("watched") / "project"))
    done = run_cli(project, "retrain", *SOURCE, "--as-of", f"2022-04-{LAST}", "--json")
    assert done.returncode == 0, said(done)
    assert last_json(done.stdout)["challenger"] == "itemknn"
    return Watched(project)


@pytest.fixture
def live(night: Watched, tmp_path: Path) -> Watched:
    """The same state, free to be changed."""
    return Watched(Path(shutil.copytree(night.project, tmp_path / "project", symlinks=True)))


def test_each_new_day_is_measured_once_and_left_where_people_look(live: Watched, tmp_path: Path) -> None:
    more = ("--set", "monitor.min_viewers=560")
    nothing = live.monitor(15, *more)
    assert (nothing["status"], nothing["windows"], nothing["waiting"]) == ("nothing new", [], ["2022-04-15"])
    assert nothing["said"] == ["Nothing new: no day after 2022-04-14 can be judged yet."]
    first = live.monitor(15)
    assert (first["status"], first["new"], first["candidate"]) == ("watched", 1, "itemknn")
    page, metrics = tmp_path / "out.html", tmp_path / "nightreel.prom"
    second = live.monitor(16, "--plot", str(page), "--prometheus", str(metrics))
    assert (second["new"], second["windows"][0]) == (1, first["windows"][0])
    for row, (viewers, value, popularity) in zip(second["windows"], DAYS.values(), strict=True):
        assert row["viewers"] == viewers
        assert [row["value"], row["baseline"]] == pytest.approx([value, popularity], abs=1e-6)
    assert [row["what"] for row in second["drift"] if row["word"] == "drift"] == ["new_videos"]
    again = live.monitor(16)
    assert (again["new"], again["windows"]) == (0, second["windows"])
    joined = live.monitor(16, *more)["windows"][-1]
    assert (joined["first"], joined["last"]) == ("2022-04-15", "2022-04-16")
    assert 560 <= joined["viewers"] <= sum(viewers for viewers, *_ in DAYS.values())
    logged = "SELECT step, value FROM metrics WHERE key = 'live/ndcg_at_10' ORDER BY step"
    steps = query(live.project / ".nightreel", logged)
    assert steps == [(at, pytest.approx(row["value"])) for at, row in enumerate(second["windows"], start=1)]
    told = metrics.read_text()
    assert 'nightreel_window_viewers{recommender="kuairand"} 554.0' in told
    html = page.read_text()
    assert html.count("<svg") == 3
    assert "<script" not in html
    assert re.findall(r'(?:src|href|data)="(?!#)', html) == []
    assert list((live.project / ".nightreel/monitor/kuairand/work").iterdir()) == []


@pytest.mark.slow
def test_a_bad_release_is_taken_back_after_three_windows_and_not_before(live: Watched, tmp_path: Path) -> None:
    good = live.books.ledger.head()
    bad = live.plant(tmp_path / "bad", popular=False)
    assert live.monitor(16, *AFTER_THREE)["status"] == "watched"
    told = live.monitor(17, *AFTER_THREE, code=1)
    assert (told["status"], told["entry"]) == ("rolled back", 3)
    entry = live.books.ledger.head()
    assert (entry.action, entry.release, entry.by, entry.evidence) == (
        "rollback",
        good.release,
        "tests",
        told["evidence"],
    )
    assert entry.reason.startswith(
        "ndcg@10 was below 0.5 of popularity in 3 windows in a row, 2022-04-15 to 2022-04-17 ("
    )
    evidence = get_evidence(live.books.store, told["evidence"])
    assert (evidence["from"], evidence["to"], evidence["until"]) == (bad.release, good.release, "2022-04-17")
    assert evidence["rule"] == {"metric": "ndcg@10", "below": 0.5, "reference": "popularity", "windows": 3}
    assert [window["last"] for window in evidence["windows"]] == ["2022-04-15", "2022-04-16", "2022-04-17"]
    assert evidence["target"][0] == pytest.approx(DAYS[15][1], abs=1e-6)
    assert evidence["difference"]["low"] > 0
    after = live.monitor(18, *AFTER_THREE)
    assert (after["status"], after["release"], after["new"]) == ("watched", good.release, 1)
    assert live.books.ledger.head() == entry
    known = bad.model_dump(include={"release", "model_version", "verdict", "commit"})
    again = live.books.ledger.append(
        Draft(action="promote", by="ada", reason="it was the weather", **known), after=entry
    )
    assert live.monitor(18, *AFTER_THREE)["release"] == bad.release
    assert live.books.ledger.head() == again
    stored = live.project / ".nightreel/store" / evidence_key(told["evidence"])
    stored.write_text(json.dumps(evidence | {"until": "2022-04-16"}))
    proof = run_cli(live.project, "audit", "verify", "--json")
    faults = [finding["fault"] for finding in last_json(proof.stdout)["findings"] if finding["kind"] == "ledger entry"]
    assert faults == [f"The evidence {told['evidence'][:12]} was changed in the store: its digest differs."]


def test_a_rollback_that_is_killed_is_finished_once(live: Watched, tmp_path: Path) -> None:
    live.plant(tmp_path / "bad", popular=False)
    kept = live.project / ".nightreel/store/evidence"
    running = start_cli(live.project, "monitor", *SOURCE, "--as-of", "2022-04-17", *AFTER_THREE)
    while not (kept.exists() and list(kept.glob("*.json"))) and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    is_done = live.books.ledger.head().action == "rollback"
    told = live.monitor(17, *AFTER_THREE, code=0 if is_done else 1)
    assert told["status"] == ("nothing new" if is_done else "rolled back")
    assert [entry.action for entry in live.books.ledger.entries()] == ["release", "release", "rollback"]
    assert [file.stem for file in kept.glob("*.json")] == [live.books.ledger.head().evidence]


def test_nobody_goes_back_to_what_is_no_better(live: Watched, tmp_path: Path) -> None:
    live.plant(tmp_path / "worst", popular=False)
    head = live.plant(tmp_path / "popular", popular=True)
    told = live.monitor(15, "--set", "monitor.rollback={below: 100.0, windows: 1}", code=1)
    assert told["status"] == "rollback refused"
    assert "on the same windows release" in told["said"][-1]
    assert "is no better (-0.0" in told["said"][-1]
    assert live.books.ledger.head() == head


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*SOURCE, "--plot", "out.png"), "--plot must end in .html. Received: out.png"),
        ((*SOURCE, "--name", "other"), "No recommender other is live in"),
        ((*SOURCE, "--set", "monitor.max_psi=0"), "monitor.max_psi: input should be greater than 0. Received: 0"),
        ((*SOURCE, "--set", "monitor.rollback={windows: 2}"), "monitor.rollback.below: field required"),
        ((*SOURCE, "--set", "monitor.rollback={below: 1, metric: fun@10}"), "monitor.rollback.metric must be one of"),
        (
            ("--name", "kuairand"),
            "--source must be kuairand, which the live release was trained on. Received: movielens",
        ),
    ],
)
def test_bad_input_ends_in_one_sentence(night: Watched, words: tuple[str, ...], message: str) -> None:
    done = run_cli(night.project, "monitor", *words)
    assert done.returncode == 2, said(done)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
