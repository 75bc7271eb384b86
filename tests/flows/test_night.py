"""Whole small nights: what they leave, and that nothing unproven goes live."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from lineage.canonical import sha256_of_file
from tests.flows.end_state import (
    FinishedNight,
    alias,
    commands_run,
    entries,
    home_of,
    mlflow_runs,
    processes_in,
    query,
    verdict_of,
    versions,
)
from tests.flows.project import LAST_DAY, last_json, night_words, retrain, run_cli, said, start_cli

SERVE = """
import json, sys, pandas, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/files@champion")
print(model.predict(pandas.DataFrame({"user_id": [sys.argv[2]]}), params={"k": 3}).to_json(orient="records"))
"""


def _named(name: str, *overrides: str) -> tuple[str, ...]:
    """Words for a night of another recommender in the same store."""
    return tuple(word for override in (f"name={name}", *overrides) for word in ("--set", override))


def _json(finished: FinishedNight, *words: str):
    done = run_cli(finished.project, *words, "--json")
    assert done.returncode == 0, said(done)
    return last_json(done.stdout)


def _tags(finished: FinishedNight, version: str, name: str = "files") -> dict[str, str]:
    sql = "select key, value from model_version_tags where name = ? and version = ?"
    return dict(query(finished.home, sql, name, version))


def test_a_night_says_exactly_what_it_did(finished):
    outcome = dict(finished.outcome)
    (entry,) = entries(finished.home)
    assert outcome.pop("seconds").keys() >= {"land", "validate", "train@itemknn", "register", "release"}
    assert Path(outcome.pop("docs")).is_file()
    assert outcome.pop("challenger_score") == pytest.approx(0.0908394, abs=1e-6)
    assert outcome == {
        "status": "released",
        "name": "files",
        "as_of": str(LAST_DAY),
        "run": entry.run,
        "commit": entry.commit,
        "rows": 19768,
        "quarantined": 0,
        "challenger": "itemknn",
        "primary": "ndcg@10",
        "champion_score": None,
        "release": entry.release,
        "seq": 1,
        "model_version": "1",
        "until": None,
        "reasons": [],
        "failed_candidates": {},
        "refresh": None,
        "override": None,
    }


def test_the_ledger_names_who_released_what_and_why(finished):
    (entry,) = entries(finished.home)
    assert (entry.seq, entry.previous, entry.action, entry.by) == (1, None, "release", "tests")
    assert (entry.reason, entry.model_version) == ("passed the gate", "1")


def test_mlflow_has_the_night_its_candidates_and_its_inputs(finished):
    run = finished.outcome["run"]
    kinds = [(run, "FINISHED"), (f"{run}/itemknn", "FINISHED"), (f"{run}/popularity", "FINISHED")]
    assert mlflow_runs(finished.home, run) == kinds
    children = (
        "select name from runs join tags child on child.run_uuid = runs.run_uuid and child.key = 'mlflow.parentRunId' "
        "join tags night on night.run_uuid = child.value and night.key = 'nightreel.key' where night.value = ?"
    )
    assert sorted(query(finished.home, children, run)) == [("itemknn",), ("popularity",)]
    landed = json.loads((finished.checkout / "data/landed.json").read_text())
    inputs = {name for (name,) in query(finished.home, "select distinct name from datasets")}
    assert {f"{part['table']}-{part['sha256'][:8]}" for part in landed["parts"]} <= inputs


def test_the_model_version_is_tied_to_run_commit_data_and_verdict(finished):
    tags = _tags(finished, "1")
    outcome = finished.outcome
    assert tags["nightreel.run"] == outcome["run"]
    assert tags["nightreel.commit"] == outcome["commit"]
    assert tags["nightreel.release"] == outcome["release"]
    assert (tags["nightreel.candidate"], tags["nightreel.verdict"]) == ("itemknn", "passed")
    assert tags["nightreel.data.landed"] == sha256_of_file(finished.checkout / "data/landed.json")
    assert alias(finished.home) == "1"


def test_the_registered_model_answers_as_the_live_release_does(finished, tmp_path):
    live = _json(finished, "recommend", "--name", "files", "--user", "648", "-k", "3")
    assert (live["reason"], live["release"]) == ("history", finished.outcome["release"])
    command = [sys.executable, "-W", "ignore", "-c", SERVE, f"sqlite:///{finished.home / 'mlflow.db'}", "648"]
    env = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    served = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert served.returncode == 0, served.stderr[-4000:]
    rows = json.loads(served.stdout.splitlines()[-1])
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert [row["video_id"] for row in rows] == [str(video["video_id"]) for video in live["videos"]]
    assert [row["score"] for row in rows] == [video["score"] for video in live["videos"]]


def test_an_unknown_viewer_is_shown_the_popular_list(finished):
    shown = _json(finished, "recommend", "--name", "files", "--user", "no-such-viewer", "-k", "2")
    assert shown["reason"] == "popular"
    assert len(shown["videos"]) == 2
    assert all(video["title"] for video in shown["videos"])


def test_the_verdict_is_an_artifact_in_prefect(finished, prefect_server):
    body = json.dumps({"artifacts": {"key": {"any_": ["verdict"]}}}).encode()
    request = urllib.request.Request(f"{prefect_server}/artifacts/filter", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found = {artifact["description"]: artifact["data"] for artifact in json.load(answer)}
    assert found[finished.outcome["run"]].startswith("## itemknn passed against popularity")


@pytest.mark.slow
def test_a_challenger_that_breaks_a_bound_is_refused_and_the_live_release_stays(finished, source):
    released = retrain(finished.project, source, *_named("bounded"))
    bound = "gate={margin: 0.05, slice_margin: 0.5, max_megabytes: 0.001}"
    refused = retrain(finished.project, source, *_named("bounded", bound, "train.itemknn.neighbours=31"))
    assert (refused["status"], refused["model_version"]) == ("refused", "2")
    (reason,) = refused["reasons"]
    assert reason.startswith("megabytes must be at most 0.001; it is ")
    assert (refused["release"], refused["seq"]) == (None, None)
    assert verdict_of(finished.home, refused["run"])["champion"] == released["release"]
    assert refused["champion_score"] == released["challenger_score"]
    assert versions(finished.home, "bounded") == {"1": "passed", "2": "refused"}
    assert [entry.release for entry in entries(finished.home, "bounded")] == [released["release"]]
    assert alias(finished.home, "bounded") == "1"
    denied = run_cli(finished.project, "promote", "2", "--name", "bounded", "--reason", "I want it")
    assert denied.returncode == 1
    assert "cannot go live: its verdict is refused" in " ".join(denied.stderr.split())


@pytest.mark.slow
def test_a_re_ranked_release_is_judged_as_it_is_served_the_night_after_too(finished, source):
    on = retrain(finished.project, source, *_named("reranked", "rerank={diversity: 0.2, explore_slots: 1}"))
    off = retrain(finished.project, source, *_named("reranked", "train.itemknn.neighbours=31"))
    assert off["champion_score"] == on["challenger_score"] != finished.outcome["challenger_score"]
    parts = _json(finished, "show", on["release"][:12], "--name", "reranked")["manifest"]["parts"]
    assert "rerank.json" in parts
    assert "index/rerank.json" not in parts


def test_a_candidate_whose_process_dies_is_left_behind(finished, source):
    words = _named("left-behind", "candidates=[popularity, itemknn, ease]")
    night = start_cli(finished.project, *night_words(source, *words), "--json")
    _kill_step(finished.project, night, "tasks.train ease")
    assert night.wait(timeout=300) == 0
    (entry,) = entries(finished.home, "left-behind")
    outcome = last_json((finished.home / "runs" / str(entry.run) / "outcome.json").read_text())
    assert outcome["challenger"] == "itemknn"
    assert list(outcome["failed_candidates"]) == ["ease"]
    assert "Step train@ease ended without a word" in outcome["failed_candidates"]["ease"]
    assert "evaluate@ease" not in commands_run(finished.home, entry.run)


def _kill_step(project: Path, night: "subprocess.Popen[str]", what: str) -> None:
    """SIGKILL the process of a step as soon as it is there, as the kernel does when memory runs out."""
    while True:
        assert night.poll() is None, f"the night ended before {what}"
        for pid, line in processes_in(project).items():
            if line.split()[1] == "-m" and line.rstrip().endswith(what):  # and not the shell that DVC started
                os.kill(pid, signal.SIGKILL)
                return
        time.sleep(0.005)


def test_what_a_person_rolled_back_stays_back_until_a_person_promotes_it(two_releases, source, tmp_path):
    project = Path(shutil.copytree(two_releases, tmp_path / "project", symlinks=True))
    home, again = home_of(project), ("--set", "train.itemknn.neighbours=60")
    first, second = entries(home)
    back = run_cli(project, "rollback", "--reason", "viewers complain")
    assert back.returncode == 0, said(back)
    assert alias(home) == first.model_version
    kept = retrain(project, source, *again)
    assert kept["status"] == "refused"
    assert "tests rolled back from release" in kept["reasons"][0]
    assert "viewers complain" in kept["reasons"][0]
    promoted = run_cli(project, "promote", second.model_version, "--reason", "it was the player")
    assert promoted.returncode == 0, said(promoted)
    assert retrain(project, source, *again)["status"] == "unchanged"
    *_, rollback, promote = ledger = entries(home)
    assert [entry.action for entry in ledger] == ["release", "release", "rollback", "promote"]
    assert (rollback.release, promote.release) == (first.release, second.release)
    assert alias(home) == second.model_version
    assert versions(home) == {"1": "passed", "2": "passed", "3": "refused"}


def test_two_recommenders_live_side_by_side_in_one_store(finished, source):
    before = entries(finished.home)
    beside = retrain(finished.project, source, *_named("beside"))
    assert (beside["status"], beside["name"], beside["seq"]) == ("released", "beside", 1)
    assert entries(finished.home) == before
    assert entries(finished.home, "beside")[0].release != before[0].release
    assert (alias(finished.home), alias(finished.home, "beside")) == ("1", "1")
    shown = [_json(finished, "status", "--name", name)["recommender"] for name in ("files", "beside")]
    assert shown == ["files", "beside"]
    unnamed = run_cli(finished.project, "status")
    assert unnamed.returncode == 2
    assert "Choose one with --name" in unnamed.stderr
    assert "Traceback" not in unnamed.stderr
