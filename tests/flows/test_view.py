"""What people see: each screen at 100 columns, with the facts that it is there to tell."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.outcome import Outcome
from flows.view import (
    show,
    show_fields,
    show_leaderboard,
    show_manifest,
    show_outcome,
    show_recommended,
    show_releases,
    show_replay,
)

WIDTH = 100
RELEASE = "3118b1999708" + "0" * 52
OTHER = "46ada14df3a7" + "1" * 52
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
ENTRY = {
    "seq": 7,
    "action": "release",
    "release": RELEASE,
    "model_version": "9",
    "at": "2026-11-22T02:00:07.258579Z",
    "by": "ada",
    "reason": "passed the gate",
    "expires": None,
}


def seen(render: Callable[[Console, Any], None], content: object, *, width: int = WIDTH) -> str:
    """What `render` prints, with no line wider than the terminal."""
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False)
    render(console, content)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert all(len(line) <= width for line in printed.splitlines())
    return "\n".join(line.rstrip() for line in printed.splitlines())


def rows(printed: str) -> list[list[str]]:
    """The cells of the body of each table."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if line[:1] == "│"]


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


def test_fields_leave_out_what_is_unknown_and_keep_brackets() -> None:
    assert seen(show_fields, {"live release": RELEASE, "model version": None, "reason": "[bold] [/] :smile:"}) == (
        f"live release  {RELEASE}\nreason        [bold] [/] :smile:"
    )


def test_recommendations_keep_their_titles_on_one_line() -> None:
    videos = [
        {"video_id": 1617, "title": "L.A. Confidential (1997)", "score": 0.034812},
        {"video_id": 2, "title": None, "score": 12.0},
        {"video_id": "v[b]3", "title": "[rec] 今天的晚饭\nsecond line [/]", "score": 0.0},
        {"video_id": 4, "title": "é" * 10_000, "score": 1e-6},
    ]
    answer = {"user": "1", "release": RELEASE, "seq": 7, "reason": "history", "videos": videos, "signature": "f00"}
    printed = seen(show_recommended, answer)
    assert "Viewer 1, release 3118b1999708" in printed
    assert "popular" not in printed
    assert "signed by f00" in printed
    assert rows(printed)[:3] == [
        ["1", "1617", "L.A. Confidential (1997)", "0.03481"],
        ["2", "2", "", "12"],
        ["3", "v[b]3", "[rec] 今天的晚饭 second line [/]", "0"],
    ]
    assert len(rows(printed)) == 4
    assert rows(printed)[3][2].endswith("é…")
    assert rows(printed)[3][3] == "1e-06"


def test_why_stands_beside_each_recommendation() -> None:
    because = [{"video_id": 5, "title": "Heat (1995)", "score": 0.5, "exact": True}]
    because += [{"video_id": "six", "title": None, "score": 0.25, "exact": True}]
    videos = [{"video_id": 1, "title": "Ronin (1998)", "score": 0.75, "because": because}]
    videos += [{"video_id": 2, "title": "Babe (1995)", "score": 0.0, "because": []}]
    answer = {"user": "1", "release": RELEASE, "seq": 7, "reason": "history", "videos": videos, "signature": "f00"}
    assert rows(seen(show_recommended, answer)) == [
        ["1", "1", "Ronin (1998)", "0.75", "Heat (1995)"],
        ["", "", "", "", "six"],
        ["2", "2", "Babe (1995)", "0", ""],
    ]


def test_an_unknown_viewer_is_told_so() -> None:
    answer = {"user": "[x]", "release": RELEASE, "seq": 7, "reason": "popular", "videos": [], "signature": "f00"}
    assert seen(show_recommended, answer).startswith("Viewer [x] is unknown to the live release: the popular list.\n")


def test_the_ledger_shows_whole_ids_and_whole_reasons() -> None:
    reason = "viewers complained about [sport] " * 4
    back = ENTRY | {"seq": 8, "action": "rollback", "release": OTHER, "reason": reason, "model_version": None}
    printed = seen(show_releases, [ENTRY, back])
    first, second, *rest = rows(printed)
    forced = rows(seen(show_releases, [ENTRY | {"action": "override", "expires": "2026-12-01"}]))
    assert " ".join([forced[0][1], *(row[1] for row in forced[1:])]).strip() == "override until 2026-12-01"
    assert first == ["7", "release", "3118b1999708", "9", "2026-11-22 02:00", "ada", "passed the gate"]
    assert second[:6] == ["8", "rollback", "46ada14df3a7", "", "2026-11-22 02:00", "ada"]
    assert " ".join([second[6], *(row[6] for row in rest)]) == reason.strip()


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


def test_a_leaderboard_fits_and_names_its_units() -> None:
    measured = {  # in the order of a metrics file
        "coverage@10": 0.0934,
        "ndcg@10": 0.0434,
        "recall@10": 0.0801,
        "hit@10": 0.0801,
        "mrr@10": 0.0324,
        "map@10": 0.0324,
        "novelty@10": 8.1234,
        "popularity_bias@10": 3.2,
        "diversity@10": 0.71,
    }
    costs = {"seconds": 1.23, "peak_megabytes": 812.3, "joules": 12.34, "milliseconds": 0.52, "megabytes": 10.2}
    marks = {"front": True, "challenger": False}
    row = {
        "primary": "ndcg@10",
        **marks,
        **measured,
        "low": 0.031,
        "high": 0.056,
        "confidence": 0.9,
        **costs,
        "viewers": 6710,
    }
    board = [
        row | {"candidate": name, "split_digest": "d" * 64} for name in ("ease", "itemknn", "sasrec", "popularity")
    ]
    board[0] |= {"challenger": True}
    board[1] |= {"front": False}
    printed = seen(show_leaderboard, [*board, {"candidate": "other", "failed": "loss was [NaN]"}])
    assert "6,710 viewers, split dddddddddddd" in printed
    assert printed.index("ease") < printed.index("itemknn") < printed.index("popularity")
    found = {name: values for name, *values in rows(printed)}
    assert [line for line, *_ in rows(printed)][:2] == ["ndcg@10", "90% interval"]
    assert found["ndcg@10"] == ["0.0434"] * 4
    assert found["90% interval"] == ["0.0310 to 0.0560"] * 4
    assert found["popularity_bias@10"] == ["3.2000"] * 4
    assert found["training, s"] == ["1.2"] * 4
    assert found["peak memory, MB"] == ["812.3"] * 4
    assert found["energy (estimate), J"] == ["12.3"] * 4
    assert found["on the Pareto front"] == ["yes", "", "yes", "yes"]
    assert found["the challenger"] == ["yes", "", "", ""]
    assert found["a recommendation, ms"] == ["0.5"] * 4
    assert found["model, MB"] == ["10.2"] * 4
    assert printed.endswith("candidate other failed: loss was [NaN]")
    narrow = seen(show_leaderboard, board, width=62)  # of two columns a table
    assert narrow.count("6,710 viewers") == 2
    assert "…" not in narrow
    assert narrow.count("0.0310 to 0.0560") == 4


def test_a_release_shows_facts_parts_checks_and_when_it_was_live() -> None:
    check = {"name": "primary", "challenger": 0.0434, "champion": None, "bound": 0, "passed": False, "reason": "worse"}
    manifest = {"name": "movielens", "candidate": "ease", "as_of": "2016-10-16", "code": "c" * 40} | {
        "space": "a" * 64,
        "verdict": "b" * 64,
        "parts": {"model/weights.safetensors": {"bytes": 5_250_292, "sha256": "e" * 64}},
    }
    verdict = {"against": "popularity", "checks": [check]}
    release = {"release": RELEASE, "live": True, "entries": [ENTRY], "manifest": manifest, "verdict": verdict}
    release["signature"] = "f00 (a local key, generated on this machine)"
    printed = seen(show_manifest, release)
    assert f"release          {RELEASE}\nlive             yes\nrecommender      movielens\n" in printed
    assert rows(printed) == [
        ["model/weights.safetensors", "5,250,292", "e" * 16],
        ["primary", "0.0434", "", "0", "✗", "worse"],
        ["7", "release", "3118b1999708", "9", "2026-11-22 02:00", "ada", "passed the gate"],
    ]
    assert "popularity" in printed


def test_json_keeps_every_character(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"title": "今天 [/] 🍜", "score": 0.5}
    show(content, show_fields, as_json=True)
    assert json.loads(capsys.readouterr().out) == content
    show(content, show_fields, as_json=False)
    assert "今天 [/] 🍜" in capsys.readouterr().out
