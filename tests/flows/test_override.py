"""A promotion past the gate: asked for in so many words, shown as what it is, and reported once its time is over."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from flows.live import Live
from lineage.ledger import Draft
from tests.flows.end_state import FinishedNight, entries
from tests.flows.project import last_json, retrain, run_cli, said

NAME = ("--name", "forced")
TODAY = datetime.now(UTC).date()


def _night(finished: FinishedNight, source: Any, *overrides: str) -> dict[str, Any]:
    words = [word for override in ("name=forced", *overrides) for word in ("--set", override)]
    return retrain(finished.project, source, *words)


def _promote(finished: FinishedNight, version: str, *words: str):
    return run_cli(finished.project, "promote", version, *NAME, "--reason", "viewers wait for it", *words)


def _sentence(done) -> str:
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def refused(finished: FinishedNight, source: Any) -> dict[str, Any]:
    """A recommender with a release and a second model version that the gate refused."""
    assert _night(finished, source)["status"] == "released"
    outcome = _night(finished, source, "train.itemknn.neighbours=31", "gate.max_megabytes=0.001")
    assert (outcome["status"], outcome["model_version"]) == ("refused", "2")
    return outcome


def test_an_override_is_asked_for_whole(finished: FinishedNight, refused: dict[str, Any]) -> None:
    plain = _promote(finished, "2")
    assert plain.returncode == 1
    assert "its verdict is refused. Past the gate leads only `--override --expires DATE`" in _sentence(plain)
    for words in (("--override",), ("--expires", str(TODAY))):
        half = _promote(finished, "2", *words)
        assert half.returncode == 2
        assert "--override and --expires go together" in _sentence(half)
    over = _promote(finished, "2", "--override", "--expires", str(TODAY - timedelta(days=1)))
    assert (over.returncode, "--expires must not lie in the past" in _sentence(over)) == (2, True)
    needless = _promote(finished, "1", "--override", "--expires", str(TODAY))
    assert (needless.returncode, "passed the gate, so it needs no --override" in _sentence(needless)) == (2, True)
    assert len(entries(finished.home, "forced")) == 1


def test_an_override_shows_everywhere_and_lapses_until_a_passing_release_replaces_it(
    finished: FinishedNight, source: Any, refused: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    until = TODAY + timedelta(days=7)
    done = _promote(finished, "2", "--override", "--expires", str(until), "--json")
    assert done.returncode == 0, said(done)
    entry = last_json(done.stdout)
    assert (entry["seq"], entry["action"], entry["expires"]) == (2, "override", str(until))
    assert entry["signature"].endswith("(a local key, generated on this machine)")
    status = last_json(run_cli(finished.project, "status", *NAME, "--json").stdout)
    assert status["override"] == f"passed no gate; until {until}"
    assert f"override until {until}" in run_cli(finished.project, "releases", *NAME, env={"COLUMNS": "160"}).stdout
    again = _night(finished, source, "train.itemknn.neighbours=31", "gate.max_megabytes=0.001")
    assert (again["status"], again["override"]) == ("unchanged", None)

    _lapse(finished, monkeypatch, on=date(2026, 1, 31))
    status = last_json(run_cli(finished.project, "status", *NAME, "--json").stdout)
    assert status["override"] == "passed no gate; lapsed on 2026-01-31"
    told = _night(finished, source, "train.itemknn.neighbours=30", "gate.max_megabytes=0.001")
    assert told["status"] == "refused"
    assert told["override"] == (
        f"release {entry['release'][:12]} is live by an override of ada that lapsed on 2026-01-31 (still needed); "
        "no passing release has replaced it yet"
    )
    back = run_cli(finished.project, "rollback", *NAME, "--to", "2", "--reason", "again")
    assert back.returncode == 2  # it names the release that is live already
    replaced = _night(finished, source, "train.itemknn.neighbours=29")
    assert (replaced["status"], replaced["seq"], replaced["override"]) == ("released", 4, None)
    back = run_cli(finished.project, "rollback", *NAME, "--to", "3", "--reason", "again")
    assert back.returncode == 1
    assert "Entry 3 is an override: its release passed no gate" in _sentence(back)
    rolled = run_cli(finished.project, "rollback", *NAME, "--reason", "goes round both", "--json")
    assert last_json(rolled.stdout)["release"] == entries(finished.home, "forced")[0].release


def _lapse(finished: FinishedNight, patch: pytest.MonkeyPatch, *, on: date) -> None:
    """The same override once more, with a day that is over: no command gives one, and no test can wait."""
    patch.chdir(finished.project)
    live = Live.open("forced")
    head = live.head
    facts = head.model_dump(include={"action", "release", "model_version", "commit"})
    live.ledger.append(Draft(**facts, by="ada", reason="still needed", expires=str(on)), after=head)
