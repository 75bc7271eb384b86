"""Nights at the same time on one ledger: each ends, no entry is lost, no verdict is against an old champion."""

import signal
import time
from pathlib import Path

import pytest

from infra.stores import FolderStore
from lineage.canonical import sha256_of_file
from lineage.lease import Lease
from lineage.ledger import Ledger
from tests.flows.end_state import alias, assert_at_rest, entries, home_of, verdict_of, versions
from tests.flows.project import last_json, night_words, retrain, run_cli, said, start_cli
from tests.lineage.test_keys import private_pem
from tests.lineage.test_signing import SIGNER

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


def _stopped_before_it_is_live(project: Path, source: Path, *words: str, env=None):
    """A night that has judged and published and is stopped by SIGSTOP before its entry."""
    store = Path((env or {}).get("NIGHTREEL_STORE", home_of(project) / "store"))
    published = len(list(store.glob("manifests/*.json")))
    slow = start_cli(project, *night_words(source, *words), env=env)
    while len(list(store.glob("manifests/*.json"))) == published:
        assert slow.poll() is None, (project.parent / f"{project.name}.log").read_text()[-6000:]
        time.sleep(0.005)
    slow.send_signal(signal.SIGSTOP)
    return slow


@pytest.mark.slow
def test_who_loses_a_race_against_a_person_gates_again(project, source):
    home = home_of(project)
    for count in (20, 60):
        retrain(project, source, *_neighbours(count))
    slow = _stopped_before_it_is_live(project, source, *_neighbours(100))
    back = run_cli(project, "rollback", "--reason", "complaints")  # people need no lease
    assert back.returncode == 0, said(back)
    slow.send_signal(signal.SIGCONT)
    assert slow.wait(timeout=300) == 0
    assert "another run went live first" in (project.parent / f"{project.name}.log").read_text()
    *_, rollback, newest = entries(home)
    assert (rollback.seq, rollback.action, newest.action) == (3, "rollback", "release")
    assert verdict_of(home, newest.run)["champion"] == rollback.release
    assert verdict_of(home, newest.run)["against"] == "champion"
    assert alias(home) == newest.model_version


def _machine(folder: Path, name: str) -> dict[str, str]:
    """One of several machines that share store, registry and signing key, but no folder."""
    shared = {"STORE": folder / "store", "MLFLOW_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    shared |= {"SIGNING_KEY": folder / "key.pem", "LEASE_SECONDS": 3, "HOME": folder / name}
    return {f"NIGHTREEL_{variable}": str(value) for variable, value in shared.items()}


@pytest.mark.slow
def test_of_two_machines_at_the_same_night_the_one_that_was_taken_over_from_publishes_nothing(
    project, source, tmp_path
):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "key.pem").write_text(private_pem(SIGNER.key))
    stopped = _stopped_before_it_is_live(project, source, env=_machine(shared, "first"))
    winner = retrain(project, source, env=_machine(shared, "second"))  # waits for the lease's end
    assert (winner["status"], winner["seq"]) == ("released", 1)
    stopped.send_signal(signal.SIGCONT)
    assert stopped.wait(timeout=300) == 1
    log = (project.parent / f"{project.name}.log").read_text()
    assert "LostLease: This run may not change what is live of files any more: its lease" in log
    assert "Traceback" not in log
    (entry,) = Ledger(FolderStore(shared / "store"), "files").entries()
    assert (entry.release, entry.run) == (winner["release"], winner["run"])
    (state,) = (shared / "store/leases/files").iterdir()
    lease = Lease.model_validate_json(state.read_bytes())
    assert (lease.held, lease.token) == (False, entry.fence)
    again = retrain(project, source, env=_machine(shared, "first"))
    assert (again["status"], again["seq"]) == ("unchanged", 1)
