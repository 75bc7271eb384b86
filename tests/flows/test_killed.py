"""SIGKILL at each step boundary and at random instants of a small night, then again: as if nothing had happened."""

import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.flows.end_state import (
    FinishedNight,
    alias,
    assert_at_rest,
    commands_run,
    home_of,
    is_held,
    processes_in,
    query,
    state,
)
from tests.flows.project import night_words, retrain, start_cli

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(1800)]

POLL_SECONDS = 0.004
NIGHT_SECONDS = 14.0  # of a small night on an idle machine, Prefect's start included


def _said(what: str) -> Callable[[Path], bool]:
    return lambda home: any(f'"{what}: done in' in log.read_text() for log in home.glob("runs/*/log/*.jsonl"))


def _there(pattern: str) -> Callable[[Path], bool]:
    return lambda home: any(home.glob(pattern))


def _rows(table: str) -> Callable[[Path], bool]:
    return lambda home: bool(query(home, f"select 1 from {table}"))


# What shows from the outside that a step has just been done, in the night's order. After the word of a DVC stage, DVC
# itself has still to store the stage's outputs.
BOUNDARIES: dict[str, Callable[[Path], bool]] = {
    "landed": _there("landing/files/arrivals/00000001.json"),
    "worktree begun": _there("runs/*/checkout/dvc.yaml"),
    "checked out": _there("runs/*/ready"),
    "ingest": _said("ingest"),
    "validate": _said("validate"),
    "prepare": _said("prepare"),
    "train popularity": _said("train@popularity"),
    "evaluate popularity": _said("evaluate@popularity"),
    "train itemknn": _said("train@itemknn"),
    "evaluate itemknn": _said("evaluate@itemknn"),
    "index": _said("index"),
    "champion asked for": _there("runs/*/checkout/data/champion.json"),
    "champion": _said("champion"),
    "gate": _said("gate"),
    "recorded": _there("../.git/refs/nightreel/runs/*"),
    "bundled": _there("runs/*/bundle/record"),
    "published": _there("store/manifests/*.json"),
    "in MLflow": _rows("runs"),
    "candidates in MLflow": lambda home: len(query(home, "select 1 from runs")) == 3,
    "model logged": _rows("logged_models"),
    "registered": _rows("model_versions"),
    "live": _there("store/ledgers/files/00000001.json"),
    "mirrored": lambda home: alias(home) is not None,
    "remembered": _there("mirrored/files"),
}
EARLY = ("worktree begun", "ingest")
LATE = ("registered", "live")


def _kill_when(project: Path, source: Path, reached: Callable[[], bool]) -> bool:
    """Start a night and kill it once `reached`; False when it ended by itself before. Its steps end by themselves."""
    night = start_cli(project, *night_words(source))
    while not reached():
        if night.poll() is not None:
            assert night.returncode == 0, (project.parent / f"{project.name}.log").read_text()[-4000:]
            return False
        time.sleep(POLL_SECONDS)
    night.kill()
    assert night.wait() == -signal.SIGKILL
    return True


def _after(seconds: float) -> Callable[[], bool]:
    instant = time.monotonic() + seconds
    return lambda: time.monotonic() > instant


def _ends_the_same(project: Path, source: Path, finished: FinishedNight) -> None:
    assert retrain(project, source)["status"] in ("released", "unchanged")
    assert state(project, finished.outcome["run"]) == finished.state
    assert [run.name for run in (home_of(project) / "runs").iterdir()] == [finished.outcome["run"]]
    assert_at_rest(project)


def _killed_at(project: Path, source: Path, boundaries: Iterable[str]) -> int:
    """Kill a night at each boundary that is not passed yet; how many were killed."""
    killed = 0
    for name in boundaries:
        reached = BOUNDARIES[name]
        if not reached(home_of(project)):  # two may be so close that the kill at one came after the other
            assert _kill_when(project, source, lambda reached=reached: reached(home_of(project))), name
            killed += 1
    return killed


def test_killed_at_some_boundaries_a_night_ends_as_if_undisturbed(project, source, finished):
    assert _killed_at(project, source, EARLY) == len(EARLY)
    assert _killed_at(project, source, LATE) >= len(LATE) - 1
    _ends_the_same(project, source, finished)


def test_the_steps_of_a_killed_night_end_by_themselves(project, source):
    home = home_of(project)
    assert _kill_when(project, source, lambda: BOUNDARIES["ingest"](home) and any(map(is_held, _step_locks(home))))
    deadline = time.monotonic() + 30
    while left := processes_in(project):
        assert time.monotonic() < deadline, f"still at work 30 s after the kill: {left}"
        time.sleep(0.05)
    (run,) = (home / "runs").iterdir()
    assert commands_run(home, run.name) == ["ingest"]  # validate, which was at work, did not come to its end


def _step_locks(home: Path) -> Iterator[Path]:
    return home.glob("runs/*/step.lock")


@pytest.mark.slow
def test_killed_at_every_boundary_a_night_ends_as_if_undisturbed(project, source, finished):
    assert _killed_at(project, source, BOUNDARIES) >= len(BOUNDARIES) - 4
    _ends_the_same(project, source, finished)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_instants_a_night_ends_as_if_undisturbed(seed, project, source, finished):
    instants = random.Random(seed)
    killed = [_kill_when(project, source, _after(instants.uniform(1.0, NIGHT_SECONDS))) for _ in range(4)]
    assert any(killed)
    _ends_the_same(project, source, finished)
