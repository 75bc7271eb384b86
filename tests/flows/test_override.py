"""A promotion past the gate: asked for in so many words, shown as what it is, and reported once its time is over."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.live import Live
from lineage.ledger import Draft
from tests.flows.end_state import entries, home_of
from tests.flows.project import last_json, retrain, run_cli, said

TODAY = datetime.now(UTC).date()
WORSE = ("train.itemknn.neighbours=50", "gate.max_megabytes=0.000001")  # as version 3 of `two_releases`


@pytest.fixture(scope="module")
def refused(two_releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `two_releases`, whose version 3 the gate refused."""
    return Path(shutil.copytree(two_releases, tmp_path_factory.mktemp("override") / "project", symlinks=True))


def _night(project: Path, source: Path, *overrides: str) -> dict[str, Any]:
    return retrain(project, source, *(word for override in overrides for word in ("--set", override)))


def _promote(project: Path, version: str, *words: str):
    return run_cli(project, "promote", version, "--reason", "viewers wait for it", *words)


def _sentence(done) -> str:
    return " ".join(done.stderr.split())


def test_an_override_is_asked_for_whole(refused: Path) -> None:
    plain = _promote(refused, "3")
    assert plain.returncode == 1
    assert "its verdict is refused. Past the gate leads only `--override --expires DATE`" in _sentence(plain)
    for words in (("--override",), ("--expires", str(TODAY))):
        half = _promote(refused, "3", *words)
        assert half.returncode == 2
        assert "--override and --expires go together" in _sentence(half)
    over = _promote(refused, "3", "--override", "--expires", str(TODAY - timedelta(days=1)))
    assert (over.returncode, "--expires must not lie in the past" in _sentence(over)) == (2, True)
    needless = _promote(refused, "2", "--override", "--expires", str(TODAY))
    assert (needless.returncode, "passed the gate, so it needs no --override" in _sentence(needless)) == (2, True)
    assert len(entries(home_of(refused))) == 2


@pytest.mark.slow
def test_an_override_shows_everywhere_and_lapses_until_a_passing_release_replaces_it(
    refused: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = TODAY + timedelta(days=7)
    done = _promote(refused, "3", "--override", "--expires", str(until), "--json")
    assert done.returncode == 0, said(done)
    entry = last_json(done.stdout)
    assert (entry["seq"], entry["action"], entry["expires"]) == (3, "override", str(until))
    assert entry["signature"].endswith("(a local key, generated on this machine)")
    status = last_json(run_cli(refused, "status", "--json").stdout)
    assert status["override"] == f"passed no gate; until {until}"
    assert f"override until {until}" in run_cli(refused, "releases", env={"COLUMNS": "160"}).stdout
    again = _night(refused, source, *WORSE)
    assert (again["status"], again["override"]) == ("unchanged", None)

    _lapse(refused, monkeypatch, on=date(2026, 1, 31))
    status = last_json(run_cli(refused, "status", "--json").stdout)
    assert status["override"] == "passed no gate; lapsed on 2026-01-31"
    told = _night(refused, source, "train.itemknn.neighbours=30", "gate.max_megabytes=0.001")
    assert told["status"] == "refused"
    assert told["override"] == (
        f"release {entry['release'][:12]} is live by an override of ada that lapsed on 2026-01-31 (still needed); "
        "no passing release has replaced it yet"
    )
    back = run_cli(refused, "rollback", "--to", "3", "--reason", "again")
    assert back.returncode == 2  # it names the release that is live already
    replaced = _night(refused, source, "train.itemknn.neighbours=29")
    assert (replaced["status"], replaced["seq"], replaced["override"]) == ("released", 5, None)
    back = run_cli(refused, "rollback", "--to", "4", "--reason", "again")
    assert back.returncode == 1
    assert "Entry 4 is an override: its release passed no gate" in _sentence(back)
    rolled = run_cli(refused, "rollback", "--reason", "goes round both", "--json")
    assert last_json(rolled.stdout)["release"] == entries(home_of(refused))[1].release


def _lapse(project: Path, patch: pytest.MonkeyPatch, *, on: date) -> None:
    """The same override once more, with a day that is over: no command gives one, and no test can wait."""
    patch.chdir(project)
    live = Live.open(None)
    head = live.head
    facts = head.model_dump(include={"action", "release", "model_version", "commit"})
    live.ledger.append(Draft(**facts, by="ada", reason="still needed", expires=str(on)), after=head)
