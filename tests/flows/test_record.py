"""A run's record: its commit, its data in the DVC remote, and nights that find all their work done."""

import hashlib
import shutil
from pathlib import Path

from tests.flows.end_state import FinishedNight, commands_run, dvc, git, state
from tests.flows.project import commit_all, retrain

# but for the order of what runs beside each other
NIGHT = [
    "ingest",
    "validate",
    "prepare",
    "regions",
    "encode",
    "train@popularity",
    "evaluate@popularity",
    "train@itemknn",
    "evaluate@itemknn",
    "index",
    "champion",
    "gate",
]
UP_TO_DATE = "Data and pipelines are up to date."


def _clone(finished: FinishedNight, folder: Path) -> Path:
    """A clone of the project at the run's commit, made as an auditor would."""
    git(folder.parent, "clone", "-q", str(finished.project), str(folder))
    git(folder, "fetch", "-q", "origin", f"refs/nightreel/runs/{finished.outcome['run']}")
    git(folder, "checkout", "-q", "--detach", "FETCH_HEAD")
    return folder


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_night_runs_each_step_once_and_commits_what_it_made(finished):
    assert sorted(commands_run(finished.home, finished.outcome["run"])) == sorted(NIGHT)
    ref = f"refs/nightreel/runs/{finished.outcome['run']}"
    assert git(finished.project, "rev-parse", ref).strip() == finished.outcome["commit"]
    added = git(finished.project, "diff", "--name-only", "main", ref).split()
    assert {"dvc.lock", "params.yaml", "data/landed.json", "metrics/verdict.json"} <= set(added)
    assert git(finished.project, "status", "--porcelain") == ""


def test_repro_by_hand_in_the_runs_checkout_changes_nothing(finished):
    before = _digests(finished.checkout / "data")
    assert dvc(finished.checkout, "repro").strip().endswith(UP_TO_DATE)
    assert git(finished.checkout, "status", "--porcelain") == ""
    assert _digests(finished.checkout / "data") == before
    assert sorted(commands_run(finished.home, finished.outcome["run"])) == sorted(NIGHT)


def test_a_clone_pulls_the_same_bytes_and_has_nothing_to_reproduce(finished, tmp_path):
    clone = _clone(finished, tmp_path / "clone")
    dvc(clone, "pull")
    assert _digests(clone / "data") == _digests(finished.checkout / "data")
    assert dvc(clone, "status", "--json").strip() == "{}"
    assert dvc(clone, "repro").strip().endswith(UP_TO_DATE)
    assert git(clone, "status", "--porcelain") == ""


def test_the_same_night_again_runs_no_step_and_changes_nothing(finished, source):
    again = retrain(finished.project, source)
    same = ("name", "as_of", "run", "commit", "rows", "challenger", "challenger_score", "release", "seq")
    assert again["status"] == "unchanged"
    assert {key: again[key] for key in same} == {key: finished.outcome[key] for key in same}
    assert sorted(commands_run(finished.home, finished.outcome["run"])) == sorted(NIGHT)
    assert state(finished.project, finished.outcome["run"]) == finished.state


def test_a_night_after_a_change_of_the_readme_runs_no_step_and_releases_nothing(finished, source, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-b", "main", str(finished.project), str(clone))
    (clone / "README.md").write_text("Another first line\n", encoding="utf-8")
    commit_all(clone, "Say it otherwise")
    again = retrain(clone, source, env={"NIGHTREEL_HOME": str(finished.home)})
    assert again["status"] == "unchanged"
    assert again["run"] != finished.outcome["run"]
    assert again["release"] == finished.outcome["release"]
    assert commands_run(finished.home, again["run"]) == []
    assert state(finished.project, finished.outcome["run"]) == finished.state


def test_locks_of_a_git_that_was_killed_too_are_in_nobodys_way(finished, source):
    gitdir = Path(git(finished.checkout, "rev-parse", "--absolute-git-dir").strip())
    ref = finished.project / ".git/refs/nightreel/runs" / f"{finished.outcome['run']}.lock"
    for lock in (gitdir / "index.lock", gitdir / "HEAD.lock", ref):
        lock.touch()
    assert retrain(finished.project, source)["status"] == "unchanged"
    assert state(finished.project, finished.outcome["run"]) == finished.state


def test_a_worktree_that_was_never_finished_is_made_again(finished, source):
    gitdir = Path(git(finished.checkout, "rev-parse", "--absolute-git-dir").strip())
    (gitdir / "locked").write_text("initializing")  # as git does until it has checked out all files
    (finished.checkout.parent / "ready").unlink()
    (finished.checkout / "dvc.yaml").unlink()
    assert retrain(finished.project, source)["status"] == "unchanged"
    assert sorted(commands_run(finished.home, finished.outcome["run"])) == sorted(NIGHT)
    assert state(finished.project, finished.outcome["run"]) == finished.state


def test_a_list_of_dvcs_locks_that_a_kill_has_torn_is_no_obstacle(finished: FinishedNight, source: Path) -> None:
    torn = finished.checkout / ".dvc/tmp/rwlock"
    torn.write_bytes(b"")
    shutil.rmtree(finished.checkout / "data/index")  # so that a stage has something to do, and DVC asks for locks
    assert retrain(finished.project, source)["status"] == "unchanged"
    assert state(finished.project, finished.outcome["run"]) == finished.state
