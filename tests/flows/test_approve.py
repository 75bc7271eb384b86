"""With `gate.approval: required` a challenger that passed waits for a person, and nothing is held while it does."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.approving import WAITING, carry_out, reject, request_for, state
from flows.live import Live
from flows.people import ASKED_BY, answer_people
from infra.errors import Refused
from lineage.approvals import Approvals
from tests.flows.end_state import assert_at_rest, entries, home_of, versions
from tests.flows.project import last_json, retrain, run_cli, said

pytestmark = pytest.mark.usefixtures("prefect_server")

REQUIRED = ("--set", "gate.approval=required")
TAG = "nightreel.approval"


def _night(project: Path, source: Path, neighbours: int, *more: str) -> dict[str, Any]:
    return retrain(project, source, *REQUIRED, "--set", f"train.itemknn.neighbours={neighbours}", *more)


@pytest.fixture(scope="module")
def waited(warm: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first challenger passed and waits."""
    project = Path(shutil.copytree(warm, tmp_path_factory.mktemp("approve") / "project"))
    outcome = _night(project, source, 100)
    assert (outcome["status"], outcome["model_version"], outcome["seq"]) == ("waiting", "1", None)
    assert_at_rest(project)
    return project


@pytest.fixture
def project(waited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `waited`, which this process stands in."""
    project = Path(shutil.copytree(waited, tmp_path / "project", symlinks=True))
    monkeypatch.chdir(project)
    monkeypatch.setenv("NIGHTREEL_ACTOR", "ada")
    return project


def _states(live: Live) -> list[str]:
    return [state(asked, live) for asked in live.approvals.all()]


def test_what_waits_is_shown_and_nothing_is_live(project: Path) -> None:
    live = Live.open(None)
    (asked,) = live.approvals.all()
    assert (asked.model_version, asked.champion, asked.after, _states(live)) == ("1", None, 0, ["waiting"])
    hours = datetime.fromisoformat(asked.until) - datetime.fromisoformat(asked.at)
    assert hours == timedelta(hours=72)
    shown = live.registry.shown()
    assert shown.aliases == {WAITING: "1"}
    assert shown.versions["1"][TAG] == "waiting"
    assert entries(home_of(project)) == []
    assert answer_people(live) == []
    done = run_cli(project, "status", "--json")
    waits = f"model version 1 for `nightreel approve` or `reject`, until {asked.until}"
    assert last_json(done.stdout) == {"recommender": "files", "live release": None, "waits": waits}, said(done)
    reject("1", live, by="ada", reason="no")
    done = run_cli(project, "status")
    assert "Nothing is live for files: no challenger has passed the gate yet." in " ".join(done.stderr.split())


def test_approving_makes_it_live_once(project: Path) -> None:
    done = run_cli(project, "approve", "1", "--reason", "looked at it", "--json", env={"NIGHTREEL_ACTOR": "ada"})
    assert done.returncode == 0, said(done)
    entry = last_json(done.stdout)
    assert (entry["seq"], entry["action"], entry["model_version"], entry["by"]) == (1, "release", "1", "ada")
    assert entry["reason"] == "passed the gate; approved: looked at it"
    live = Live.open(None)
    assert entry["run"] == live.approvals.all()[0].run
    shown = live.registry.shown()
    assert (shown.aliases, shown.versions["1"][TAG]) == ({"champion": "1"}, "released")
    again = run_cli(project, "approve", "1", "--reason", "again")
    assert again.returncode == 1
    assert "Refused: Model version 1 of files went live already." in " ".join(again.stderr.split())
    assert (len(entries(home_of(project))), answer_people(live)) == (1, [])


def test_rejected_bytes_are_not_asked_for_again(project: Path, source: Path) -> None:
    done = run_cli(project, "reject", "1", "--reason", "too many reruns", "--json")
    assert (done.returncode, last_json(done.stdout)["approved"]) == (0, False), said(done)
    again = _night(project, source, 100)
    assert (again["status"], again["reasons"]) == (
        "refused",
        [
            "tests rejected model version 1, which serves the same: too many reruns. Only `nightreel promote` makes it "
            "live."
        ],
    )
    late = run_cli(project, "approve", "1", "--reason", "after all")
    assert late.returncode == 1
    assert "Model version 1 of files was rejected by tests: too many reruns" in " ".join(late.stderr.split())
    live = Live.open(None)
    live.registry.set_alias("champion", "1")
    (found,) = answer_people(live)
    assert (found.what, found.said) == ("refused", "Model version 1 was rejected.")
    assert (live.registry.shown().aliases, entries(home_of(project))) == ({}, [])


def test_a_version_made_by_hand_does_not_lead_past_a_rejection(project: Path) -> None:
    live = Live.open(None)
    reject("1", live, by="ada", reason="too many reruns")
    tags = live.registry.tags_of("1")
    run = live.registry.run("by hand", title="by hand", tags={})
    copied = live.registry.create_version("by hand", source=f"runs:/{run}/m", run=run, tags=tags | {TAG: "approved"})
    live.registry.set_alias("champion", copied)
    assert [(found.what, found.said) for found in answer_people(live)] == [
        ("refused", f"Model version {copied} was rejected.")
    ]
    assert (live.registry.shown().aliases, entries(home_of(project))) == ({}, [])


@pytest.mark.parametrize(("word", "what"), [("approved", "approved"), ("rejected", "rejected")])
def test_the_tag_in_mlflow_decides(project: Path, word: str, what: str) -> None:
    live = Live.open(None)
    live.registry.tag_version("1", {TAG: f"{word}: seen in the page"})
    (found,) = answer_people(live)
    assert (found.what, found.version) == (what, "1")
    decided = live.approvals.decision(live.approvals.all()[0])
    assert decided is not None
    assert (decided.approved, decided.by, decided.reason) == (word == "approved", ASKED_BY, "seen in the page")
    assert len(entries(home_of(project))) == (word == "approved")
    assert answer_people(live) == []


def test_moving_champion_to_what_waits_approves_it(project: Path) -> None:
    live = Live.open(None)
    live.registry.set_alias("champion", "1")
    (found,) = answer_people(live)
    assert (found.what, live.head.by, _states(live)) == ("promoted", ASKED_BY, ["released"])
    assert live.registry.shown().aliases == {"champion": "1"}


def test_an_approval_whose_process_was_killed_is_carried_out(project: Path) -> None:
    live = Live.open(None)
    live.approvals.decide(live.approvals.all()[0], approved=True, by="ada", reason="then the lights went out")
    assert _states(live) == ["approved"]
    (found,) = answer_people(live)
    assert (found.what, live.head.by, live.head.seq) == ("finished", "ada", 1)


@pytest.mark.slow
def test_the_same_challenger_waits_on_and_a_newer_one_supersedes_it(project: Path, source: Path) -> None:
    assert _night(project, source, 100)["status"] == "waiting"
    live = Live.open(None)
    assert _states(live) == ["waiting"]
    newer = _night(project, source, 60)
    assert (newer["status"], newer["model_version"]) == ("waiting", "2")
    assert _states(live) == ["superseded", "waiting"]
    shown = live.registry.shown()
    assert (shown.aliases, shown.versions["1"][TAG]) == ({WAITING: "2"}, "superseded")
    assert versions(home_of(project)) == {"1": "passed", "2": "passed"}
    late = run_cli(project, "approve", "1", "--reason", "liked that one")
    assert "was superseded by the challenger of a newer night" in " ".join(late.stderr.split())
    live.registry.tag_version("1", {TAG: "approved"})
    assert [(found.what, found.version) for found in answer_people(live)] == [("refused", "1")]
    done = run_cli(project, "approve", "2", "--reason", "better", "--json")
    assert (done.returncode, last_json(done.stdout)["seq"]) == (0, 1), said(done)
    assert _states(live) == ["superseded", "released"]


@pytest.mark.slow
def test_a_verdict_against_what_is_not_live_any_more_is_not_approved(project: Path, source: Path) -> None:
    other = retrain(project, source, "--set", "train.itemknn.neighbours=40")  # a night that asks nobody
    assert (other["status"], other["seq"]) == ("released", 1)
    live = Live.open(None)
    assert _states(live) == ["overtaken"]
    done = run_cli(project, "approve", "1", "--reason", "looked at it")
    assert done.returncode == 1
    assert "was held against a release that is not live any more; the next night judges again" in " ".join(
        done.stderr.split()
    )
    (found,) = answer_people(live)
    assert (found.what, live.registry.shown().aliases) == ("settled", {"champion": "2"})
    again = _night(project, source, 100)
    assert again["status"] in ("waiting", "refused")  # judged again, against version 2
    assert len(live.approvals.all()) == 1 + (again["status"] == "waiting")


@pytest.mark.slow
def test_a_request_lapses(project: Path, source: Path) -> None:
    soon = _night(project, source, 60, "--set", "gate.approval_hours=0.0000001")
    assert soon["status"] == "waiting"
    live = Live.open(None)
    assert _states(live) == ["superseded", "lapsed"]
    done = run_cli(project, "approve", "2", "--reason", "looked at it")
    assert "Model version 2 of files has lapsed; the next night that passes asks again." in " ".join(
        done.stderr.split()
    )
    assert {(found.what, found.version) for found in answer_people(live)} == {("settled", "2")}
    assert (answer_people(live), live.registry.shown().aliases) == ([], {})
    assert _night(project, source, 60)["status"] == "waiting"
    assert _states(live) == ["superseded", "superseded", "waiting"]


def test_a_forged_decision_counts_for_nothing(project: Path) -> None:
    live = Live.open(None)
    (asked,) = live.approvals.all()
    forged = home_of(project) / "store/approvals/files/00000001.decision.json"
    forged.write_text('{"payloadType": "x", "payload": "e30=", "signatures": []}')
    with pytest.raises(Refused, match="is of type x"):
        live.approvals.decision(asked)
    with pytest.raises(Refused):
        answer_people(live)
    assert entries(home_of(project)) == []


def test_nobody_asked_and_no_reason(project: Path) -> None:
    nobody = run_cli(project, "approve", "7", "--reason", "why not")
    assert nobody.returncode == 2
    assert "Model version 7 of files waits for nobody" in " ".join(nobody.stderr.split())
    empty = run_cli(project, "reject", "1", "--reason", " ")
    assert (empty.returncode, "gives a reason" in empty.stderr) == (2, True)


def test_two_who_decide_agree_on_the_first(project: Path) -> None:
    live = Live.open(None)
    (asked,) = live.approvals.all()
    first = live.approvals.decide(asked, approved=True, by="ada", reason="yes")
    assert live.approvals.decide(asked, approved=False, by="bob", reason="no") == first
    assert Approvals(live.books).decision(asked) == first
    assert carry_out(asked, first, live).by == "ada"
    with pytest.raises(Refused, match="went live already"):
        carry_out(asked, first, live)
    assert request_for("9", live) is None
