"""Nights at the same time on one ledger: each ends, no entry is lost, no verdict is against an old champion."""

import signal
import time
from pathlib import Path

import pytest

from lineage.canonical import sha256_of_file
from tests.flows.end_state import alias, assert_at_rest, entries, home_of, verdict_of, versions
from tests.flows.project import last_json, night_words, retrain, start_cli

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.timeout(1800)]

EASY = "gate={rule: non-inferior, margin: 0.5, slice_margin: 1.0}"


def _neighbours(count: int) -> tuple[str, ...]:
    return ("--set", EASY, "--set", f"train.itemknn.neighbours={count}")


def _all_end(nights, *, seconds):
    deadline = time.monotonic() + seconds
    return [night.wait(timeout=max(deadline - time.monotonic(), 1)) for night in nights]


def _outcomes(home: Path):
    return [last_json(path.read_text()) for path in home.glob("runs/*/outcome.json")]


def _assert_each_was_gated_against_the_one_before(home: Path) -> None:
    ledger = entries(home)
    assert [entry.seq for entry in ledger] == list(range(1, len(ledger) + 1))
    for before, entry in zip([None, *ledger], ledger, strict=False):
        assert verdict_of(home, entry.run)["champion"] == (before.release if before else None)
        assert entry.verdict == sha256_of_file(home / "runs" / entry.run / "checkout/metrics/verdict.json")


def _race(project: Path, source: Path, count: int) -> None:
    home = home_of(project)
    assert retrain(project, source, *_neighbours(100))["seq"] == 1
    nights = [start_cli(project, *night_words(source, *_neighbours(10 + 7 * n))) for n in range(count)]
    codes = _all_end(nights, seconds=1500)
    log = (project.parent / f"{project.name}.log").read_text()
    assert codes == [0] * count, log[-6000:]
    assert "Traceback" not in log
    outcomes = _outcomes(home)
    assert [outcome["status"] for outcome in outcomes] == ["released"] * (count + 1)
    assert sorted(outcome["seq"] for outcome in outcomes) == list(range(1, count + 2))
    assert {(entry.seq, entry.release, entry.run) for entry in entries(home)} == {
        (outcome["seq"], outcome["release"], outcome["run"]) for outcome in outcomes
    }
    _assert_each_was_gated_against_the_one_before(home)
    assert versions(home) == {str(number): "passed" for number in range(1, count + 2)}
    assert alias(home) == entries(home)[-1].model_version
    assert_at_rest(project)


@pytest.mark.slow
def test_eight_nights_at_once_each_get_an_entry_of_their_own(project, source):
    _race(project, source, 8)


def test_who_loses_a_race_gates_again_against_the_winner(project, source):
    home = home_of(project)
    slow = start_cli(project, *night_words(source, *_neighbours(20)))
    while not any(home.glob("store/manifests/*.json")):  # judged and published, not yet live
        assert slow.poll() is None
        time.sleep(0.005)
    slow.send_signal(signal.SIGSTOP)
    winner = retrain(project, source, *_neighbours(60))
    slow.send_signal(signal.SIGCONT)
    assert slow.wait(timeout=300) == 0
    assert "another run went live first" in (project.parent / f"{project.name}.log").read_text()
    first, second = entries(home)
    assert (first.release, first.run) == (winner["release"], winner["run"])
    assert verdict_of(home, second.run)["champion"] == first.release
    assert verdict_of(home, second.run)["against"] == "champion"
    _assert_each_was_gated_against_the_one_before(home)
    assert alias(home) == second.model_version
