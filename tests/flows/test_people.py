"""What people ask for in MLflow: carried out by the ledger's protocol, or put back with the reason beside it."""

import shutil
from pathlib import Path

import pytest

from flows.live import Live
from flows.people import ASKED_BY, answer_people
from infra.registry import REFUSED
from lineage.ledger import Draft, Entry, Ledger
from tests.flows.project import last_json, run_cli, said

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def live(two_releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    """The recommender of a copy of `two_releases`, version 2 live."""
    project = Path(shutil.copytree(two_releases, tmp_path / "project", symlinks=True))
    monkeypatch.chdir(project)
    monkeypatch.setenv("NIGHTREEL_ACTOR", "tests")
    live = Live.open(None)
    assert answer_people(live) == []
    assert champion(live) == "2"
    return live


def champion(live: Live) -> str | None:
    """Where MLflow's alias points."""
    return live.registry.alias("champion")


def move(live: Live, version: str | None, alias: str = "champion") -> None:
    """What a person does in MLflow's pages."""
    live.registry.set_alias(alias, version)


def tags(live: Live, version: str) -> dict[str, str]:
    """What stands at a version."""
    return live.registry.tags_of(version)


def test_moving_the_alias_to_a_version_that_passed_makes_it_live(live: Live) -> None:
    move(live, "1")
    (found,) = answer_people(live)
    assert (found.what, found.version) == ("promoted", "1")
    head = live.head
    assert (head.seq, head.action, head.model_version, head.by) == (3, "promote", "1", ASKED_BY)
    assert head.reason == "the alias champion was moved to it in MLflow"
    assert head.release == live.ledger.get(1).release
    assert (champion(live), answer_people(live)) == ("1", [])


@pytest.mark.parametrize("forged", [{}, {"nightreel.verdict": "passed"}])
def test_what_the_gate_refused_is_put_back_whatever_its_tags_say(live: Live, forged: dict[str, str]) -> None:
    live.registry.tag_version("3", forged)
    move(live, "3")
    (found,) = answer_people(live)
    assert (found.what, found.version) == ("refused", "3")
    assert found.said == tags(live, "3")[REFUSED]
    assert "Model version 3 of files cannot go live: its verdict is refused." in found.said
    assert (champion(live), live.head.seq, answer_people(live)) == ("2", 2, [])


def test_an_alias_that_is_gone_comes_back(live: Live) -> None:
    move(live, None)
    assert [found.what for found in answer_people(live)] == ["finished"]
    assert (champion(live), live.head.seq) == ("2", 2)


def test_a_version_that_no_night_made_is_put_back(live: Live) -> None:
    run = live.registry.run("by hand", title="by hand", tags={})
    strange = live.registry.create_version("by hand", source=f"runs:/{run}/m", run=run, tags={})
    move(live, strange)
    (found,) = answer_people(live)
    assert found.said == f"Model version {strange} is of no night of files: it names no release."
    live.registry.tag_version(strange, {"nightreel.release": "../../etc/passwd"})
    move(live, strange)
    (found,) = answer_people(live)
    assert found.said == "A release is named by 64 hexadecimal digits. Received: '../../etc/passwd'"
    assert (champion(live), live.head.seq) == ("2", 2)


def test_what_a_person_rolled_back_from_does_not_come_back_by_the_alias(live: Live) -> None:
    live.rollback(None, reason="shows the same video twice")
    move(live, "2")
    (found,) = answer_people(live)
    assert found.said.startswith("tests rolled back from it in ledger entry 3: shows the same video twice")
    assert (champion(live), live.head.seq) == ("1", 3)


def test_an_entry_whose_alias_is_late_is_no_request_to_roll_back(live: Live) -> None:
    _append(live, "1")  # as a night that was killed before it moved the alias
    (found,) = answer_people(live)
    assert (found.what, found.said) == ("finished", "champion follows entry 3")
    assert (champion(live), live.head.seq) == ("1", 3)


def test_a_request_beside_a_late_alias_is_judged_against_what_is_live_now(live: Live) -> None:
    _append(live, "1")
    move(live, "3")
    (found,) = answer_people(live)
    assert (found.what, found.version, champion(live), live.head.seq) == ("refused", "3", "1", 3)


def test_a_night_that_goes_live_over_a_request_says_so_there(live: Live) -> None:
    move(live, "3")
    live.rollback(None, reason="in between")
    assert champion(live) == "1"
    assert tags(live, "3")[REFUSED] == "ledger entry 3 went live meanwhile; ask again if it is meant"
    assert answer_people(live) == []


def test_an_older_entry_that_took_the_alias_back_is_late_and_no_request(live: Live) -> None:
    live.rollback(None, reason="in between")
    assert live.registry.mirror("champion", "2", seq=2)  # of two at once the slower one comes last
    assert [found.what for found in answer_people(live)] == ["finished"]
    assert (champion(live), live.head.seq) == ("1", 3)


def test_who_loses_a_race_is_judged_again(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    move(live, "1")
    append, raced = type(live.ledger).append, []

    def beaten(ledger: Ledger, draft: Draft, *, after: Entry | None) -> Entry:
        if not raced:
            raced.append(draft)
            _append(live, "2", by="a night")
        return append(ledger, draft, after=after)

    monkeypatch.setattr(type(live.ledger), "append", beaten)
    assert [found.what for found in answer_people(live)] == ["promoted"]
    assert [(entry.model_version, entry.by) for entry in live.ledger.entries()][2:] == [
        ("2", "a night"),
        ("1", ASKED_BY),
    ]
    assert champion(live) == "1"


def test_the_tag_asks_as_well_and_keeps_the_reason(live: Live) -> None:
    live.registry.tag_version("1", {"nightreel.approval": "approved: viewers liked it better"})
    live.registry.tag_version("3", {"nightreel.approval": "approved"})
    found = {each.version: each.what for each in answer_people(live)}
    assert found == {"1": "promoted", "3": "refused"}
    assert (live.head.reason, live.head.model_version) == ("viewers liked it better", "1")
    assert tags(live, "3")["nightreel.approval"] == "refused"
    assert answer_people(live) == []


def test_one_pass_by_hand_tells_what_it_did(live: Live) -> None:
    move(live, "3")
    project = Path.cwd()
    done = run_cli(project, "reconcile", "--json")
    assert done.returncode == 0, said(done)
    (found,) = last_json(done.stdout)
    assert (found["what"], found["version"]) == ("refused", "3")
    done = run_cli(project, "reconcile")
    assert done.stdout == "Nothing is asked for in MLflow, and all of the live model is there.\n", said(done)


def _append(live: Live, version: str, *, by: str = "tests") -> None:
    """An entry behind MLflow's back."""
    known = live.ledger.get(int(version)).model_dump(include={"release", "model_version", "commit"})
    live.ledger.append(Draft(action="promote", by=by, reason="behind its back", **known), after=live.ledger.head())


def test_a_pass_where_nothing_is_live_yet_finds_nothing(project: Path) -> None:
    done = run_cli(project, "reconcile", "--json")
    assert (done.returncode, last_json(done.stdout)) == (0, []), said(done)
