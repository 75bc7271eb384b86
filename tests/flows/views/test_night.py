"""How a night ended, each with the facts that it is there to tell."""

from pathlib import Path

import pytest

from flows.outcome import Outcome
from flows.views.night import show_outcome, show_replay
from tests.flows.views.terminal import RELEASE, rows, seen

RELEASED = Outcome(
    status="released",
    name="movielens",
    as_of="2016-10-16",
    run="2016-10-16-46ada14df3a7",
    commit="c" * 40,
    rows=100_004,
    quarantined=12,
    challenger="ease",
    primary="ndcg@10",
    challenger_score=0.043391,
    champion_score=0.0401,
    release=RELEASE,
    seq=7,
    model_version="9",
    seconds={"land": 0.3, "train@ease": 12.34},
    docs="/somewhere/data/docs/index.html",
).as_row()


def test_a_release_tells_figures_and_where_to_look() -> None:
    assert seen(show_outcome, RELEASED) == "\n".join(
        [
            "",
            "RELEASED  movielens, night of 2016-10-16",
            "challenger     ease, ndcg@10 0.04339 (champion 0.0401)",
            "rows           100,004, 12 in quarantine",
            "release        3118b1999708, ledger entry 7",
            "model version  9",
            "run            2016-10-16-46ada14df3a7 (git ref refs/nightreel/runs/2016-10-16-46ada14df3a7)",
            "data docs      /somewhere/data/docs/index.html",
            "seconds        land 0.3, train@ease 12.3",
        ]
    )


def test_a_refusal_tells_every_reason_and_every_candidate_that_failed() -> None:
    refused = RELEASED | {
        "status": "refused",
        "release": None,
        "champion_score": None,
        "reasons": ["coverage@10 must be at least 0.01; it is [low]", "index recall must be at least 0.95"],
        "failed_candidates": {"sasrec": "loss was NaN"},
    }
    printed = seen(show_outcome, refused)
    assert "REFUSED" in printed
    assert "\nrelease " not in printed
    assert "candidate sasrec failed: loss was NaN" in printed
    assert "✗ coverage@10 must be at least 0.01; it is [low]\n✗ index recall must be at least 0.95" in printed


def test_a_path_is_never_cut_and_is_short_where_it_lies_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    below = seen(show_outcome, RELEASED | {"docs": str(tmp_path / ".nightreel/runs/x/checkout/data/docs/index.html")})
    assert "data docs      .nightreel/runs/x/checkout/data/docs/index.html" in below
    far = "/" + "long/" * 30 + "index.html"
    assert far in seen(show_outcome, RELEASED | {"docs": far}).replace("\n               ", "")


def test_a_replay_has_a_row_a_night_and_remembers_what_is_live() -> None:
    stopped = Outcome(status="stopped", name="kuairand", as_of="2022-04-08", reasons=("too little [data]",)).as_row()
    refused = RELEASED | {"status": "refused", "release": None, "seq": None, "as_of": "2022-04-10"}
    printed = seen(show_replay, [stopped, RELEASED | {"as_of": "2022-04-09"}, refused])
    assert "3 nights" in printed
    assert "ndcg@10" in printed
    assert rows(printed) == [
        ["2022-04-08", "", "", "", "", "", "stopped", ""],
        ["2022-04-09", "100,004", "12", "ease", "0.04339", "0.0401", "released", "3118b1999708"],
        ["2022-04-10", "100,004", "12", "ease", "0.04339", "0.0401", "refused", "3118b1999708"],
    ]
    assert printed.endswith("2022-04-08: too little [data]")
