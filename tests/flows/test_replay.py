"""One night a day over the real KuaiRand log."""

import os
from pathlib import Path

import pytest

from tests.flows.project import ROOT, last_json, run_cli, said

KUAIRAND = Path(os.environ.get("NIGHTREEL_DATA", ROOT.parent / "shared/data")) / "kuairand"
ROWS = (2817, 6392, 9897, 13149, 16173, 19343, 22381, 25445, 30018, 33485, 35716, 37993, 40083, 41828)

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.skipif(not KUAIRAND.exists(), reason=f"the KuaiRand log is not at {KUAIRAND} (set NIGHTREEL_DATA)"),
]


def replay(project: Path, last: int) -> list[dict]:
    words = ("--source", "kuairand", "--path", str(KUAIRAND), "--from", "2022-04-08", "--to", f"2022-04-{last:02}")
    done = run_cli(project, "replay", *words, "--json")
    assert done.returncode == 0, said(done)
    return last_json(done.stdout)


def check(nights: list[dict]) -> None:
    """Each night knew the days up to its own, and the ledger has one entry a night that released."""
    assert [night["as_of"] for night in nights] == [f"2022-04-{8 + n:02}" for n in range(len(nights))]
    assert [night["rows"] for night in nights] == list(ROWS[: len(nights)])
    assert {night["status"] for night in nights} <= {"released", "refused"}
    released = [night["seq"] for night in nights if night["status"] == "released"]
    assert released == list(range(1, len(released) + 1))
    assert released, "no night of the log released anything"


def test_two_nights_and_again_from_what_was_kept(project):
    nights = replay(project, 9)
    check(nights)
    assert replay(project, 9) == nights
    refused = run_cli(project, "replay", "--path", str(KUAIRAND), "--from", "2022-04-10", "--to", "2022-04-08")
    assert refused.returncode == 2
    assert "--to must not lie before --from" in refused.stderr


@pytest.mark.slow
def test_fourteen_nights(project):
    nights = replay(project, 21)
    check(nights)
    assert len(nights) == 14
    assert nights[-1]["quarantined"] == 124
