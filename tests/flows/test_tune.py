"""Searches from the command line to their end: what they leave, how they go on after a kill, what they propose."""

import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.run import run_tune
from infra.errors import BadInput
from infra.git import git
from tests.flows.end_state import FinishedNight, home_of, query
from tests.flows.project import last_json, run_cli, said, start_cli

pytestmark = pytest.mark.usefixtures("prefect_server")

TINY = {"dim": 8, "blocks": 1, "heads": 1, "max_length": 8, "epochs": 4, "patience": 4, "jit_compile": "false"}
SASREC = tuple(word for name, value in TINY.items() for word in ("--set", f"train.sasrec.{name}={value}"))


def words(source: Path, candidate: str, trials: int, *more: str) -> tuple[str, ...]:
    """A search over a small source, whose newest day is long ago."""
    data = ("--source", "files", "--path", str(source), "--set", "validation.max_age_days=100000")
    return ("tune", candidate, "--trials", str(trials), *data, *more)


@pytest.fixture(scope="module")
def searched(finished: FinishedNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a night to search over."""
    return Path(shutil.copytree(finished.project, tmp_path_factory.mktemp("tune") / "project", symlinks=True))


def tuned(project: Path, *command: str) -> dict[str, Any]:
    """What a search answers."""
    done = run_cli(project, *command, "--json")
    assert done.returncode == 0, said(done)
    assert "Traceback" not in done.stderr, said(done)
    answer = last_json(done.stdout)
    assert isinstance(answer, dict)
    return answer


def tried(answer: dict[str, Any], *states: str) -> list[tuple[dict[str, Any], float]]:
    """Values and value of the trials in `states`, in the order in which they were tried."""
    trials = sorted(answer["trials"], key=lambda trial: trial["number"])
    return [(trial["values"], trial["value"]) for trial in trials if trial["state"] in states]


def studies(project: Path, statement: str) -> list[tuple[Any, ...]]:
    """Rows of Optuna's database, none while it is not there."""
    database = home_of(project) / "tuning/studies.db"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(statement).fetchall()
    except sqlite3.OperationalError:
        return []


def kill_when(project: Path, command: tuple[str, ...], statement: str) -> None:
    """Start a search and kill it, by SIGKILL, once `statement` finds rows."""
    search = start_cli(project, *command)
    while not studies(project, statement):
        assert search.poll() is None, (project.parent / f"{project.name}.log").read_text()[-4000:]
        time.sleep(0.004)
    search.kill()
    assert search.wait() == -signal.SIGKILL


def children(project: Path, study: str) -> dict[str, str]:
    """Status in MLflow of a study's child runs, by their title."""
    found = query(
        home_of(project),
        "select child.name, child.status from runs child"
        " join tags up on up.run_uuid = child.run_uuid and up.key = 'mlflow.parentRunId'"
        f" join tags study on study.run_uuid = up.value and study.key = 'nightreel.key' and study.value = '{study}'",
    )
    return dict(found)


@pytest.fixture(scope="module")
def undisturbed(template: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A search of six trials where there was no night before, so that the night's steps make the data."""
    project = Path(shutil.copytree(template, tmp_path_factory.mktemp("undisturbed") / "project"))
    return project, tuned(project, *words(source, "ease", 6))


def test_the_best_trial_is_proposed_as_a_diff_that_applies(
    undisturbed: tuple[Path, dict[str, Any]], source: Path
) -> None:
    project, answer = undisturbed
    before = yaml.safe_load((project / "params.yaml").read_text())
    best, present = answer["trials"][0], answer["present"]
    assert present == 0
    assert tried(answer, "complete")[0][0] == {"l2": 250.0, "half_life_days": None}
    assert best["value"] == max(value for _, value in tried(answer, "complete"))
    assert git("status", "--porcelain", at=project) == ""
    assert Path(answer["proposal"]).read_text() == answer["diff"]
    git("apply", answer["proposal"], at=project)
    before["train"]["ease"] |= {name: value for name, value in best["values"].items() if value is not None}
    assert yaml.safe_load((project / "params.yaml").read_text()) == before
    # with these parameters the same search goes on, and they are its present ones
    more = tuned(project, *words(source, "ease", 8))
    assert more["study"] == answer["study"]
    assert tried(more, "complete")[:6] == tried(answer, "complete")
    assert len(more["trials"]) == 8
    assert next(trial for trial in more["trials"] if trial["number"] == more["present"]) == best


def test_each_trial_is_a_child_run_in_mlflow(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    project, answer = undisturbed
    runs = children(project, answer["study"])
    assert runs.items() >= {(f"trial {number}", "FINISHED") for number in range(6)}
    logged = "select value from {} join runs using (run_uuid) where name = 'trial 0' and key = '{}'"
    assert query(home_of(project), logged.format("params", "l2")) == [("250.0",)]
    first = next(trial for trial in answer["trials"] if trial["number"] == 0)
    assert query(home_of(project), logged.format("metrics", "ndcg_at_10")) == [(first["value"],)]
    assert query(home_of(project), logged.format("metrics", "seconds")) == [(first["seconds"],)]


def test_a_killed_search_ends_as_if_it_had_not_been(
    searched: Path, undisturbed: tuple[Path, dict[str, Any]], finished: FinishedNight, source: Path
) -> None:
    kill_when(searched, words(source, "ease", 6), "select 1 from trials where state = 'COMPLETE' and number = 2")
    answer = tuned(searched, *words(source, "ease", 6))
    assert answer["run"] == finished.outcome["run"]
    assert tried(answer, "complete") == tried(undisturbed[1], "complete")
    assert len(children(searched, answer["study"])) == len(answer["trials"])


@pytest.mark.slow
def test_a_trial_that_was_killed_is_tried_again_and_a_poor_one_is_pruned(searched: Path, source: Path) -> None:
    running = (
        "select 1 from trials join trial_intermediate_values using (trial_id) where state = 'RUNNING' and number = 1"
    )
    kill_when(searched, words(source, "sasrec", 9, *SASREC), running)
    answer = tuned(searched, *words(source, "sasrec", 9, *SASREC))
    (killed,) = tried(answer, "fail")
    assert sum(values == killed[0] for values, _ in tried(answer, "complete", "pruned")) == 1
    states = Counter(trial["state"] for trial in answer["trials"])
    assert states["complete"] + states["pruned"] == 9
    assert states["pruned"] > 0
    assert {len(trial["epochs"]) for trial in answer["trials"] if trial["state"] == "pruned"} <= {3, 4}
    status = Counter(children(searched, answer["study"]).values())
    assert status == {"FINISHED": states["complete"], "KILLED": states["pruned"], "FAILED": 1}
    epochs = (
        "select count(*) from metrics join runs using (run_uuid) where name = 'trial 0' and key = 'epoch.ndcg_at_10'"
    )
    assert query(home_of(searched), epochs) == [(4,)]


@pytest.mark.slow
def test_where_every_trial_diverges_the_search_says_why(searched: Path, source: Path) -> None:
    wild = ("--set", "train.sasrec.learning_rate=1.0e+38")
    done = run_cli(searched, *words(source, "sasrec", 2, *SASREC, *wild))
    assert done.returncode == 1, said(done)
    assert "Refused: No trial of sasrec was finished: loss or weights are not finite" in done.stderr, said(done)
    assert "Traceback" not in done.stderr, said(done)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("als", 1, 1.0), r"A candidate is one of popularity, .*\. Received: als"),
        (("popularity", 1, 1.0), "popularity has no parameters worth a search"),
        (("ease", 0, 1.0), "--trials must be 1 or more. Received: 0"),
        (("ease", 1, 0.0), "--hours must be a number above 0. Received: 0.0"),
        (("ease", 1, -2.0), "Received: -2.0"),
        (("ease", 1, float("nan")), "Received: nan"),
    ],
)
def test_bad_input_is_one_sentence(asked: tuple[str, int, float], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        run_tune(*asked, "movielens", None, [])


def test_without_data_there_is_nothing_to_search_over(template: Path, tmp_path: Path) -> None:
    done = run_cli(template, *words(tmp_path, "ease", 1), env={"NIGHTREEL_HOME": str(tmp_path / "home")})
    assert done.returncode == 2, said(done)
    assert done.stderr.splitlines()[-1].startswith("BadInput: "), said(done)
