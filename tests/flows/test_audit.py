"""`audit trace` and `audit impact` of a real small night, held against the files themselves."""

import hashlib
import io
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app
from flows.views.audit import show_impact, show_trace
from infra.git import git
from lineage.impact import Query, impact
from lineage.trace import trace
from tests.flows.end_state import FinishedNight
from tests.flows.project import LAST_DAY, last_json, retrain, run_cli, said
from tests.lineage.history import History, Night

NAME = ("--name", "files")
STAGES = ["ingest", "validate", "prepare", "train@itemknn", "evaluate@itemknn", "index", "gate"]


def answer(night: FinishedNight, *words: str) -> Any:
    """What an audit command of the finished night prints as JSON."""
    done = run_cli(night.project, "audit", *words, "--name", "files", "--json")
    assert (done.returncode, done.stderr) == (0, ""), said(done)
    return last_json(done.stdout)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def traced(finished: FinishedNight) -> dict[str, Any]:
    found = answer(finished, "trace", finished.outcome["release"][:10])
    assert isinstance(found, dict)
    return found


def test_trace_leads_from_the_live_release_to_the_bytes_of_the_source(
    finished: FinishedNight, traced: dict[str, Any], source: Path
) -> None:
    outcome = finished.outcome
    assert (traced["release"], traced["live"], traced["retired"]) == (outcome["release"], True, False)
    (entry,) = traced["entries"]
    assert (entry["seq"], entry["by"], entry["run"], entry["until"]) == (1, "tests", outcome["run"], None)
    assert traced["verdict"]["passed"] is True
    (night,) = traced["nights"]
    assert (night["run"], night["commit"], night["model_version"]) == (
        outcome["run"],
        outcome["commit"],
        outcome["model_version"],
    )
    assert night["code"] == git("rev-parse", "HEAD", at=finished.project)
    assert (night["clean"], night["indexed"]) == (True, True)
    origins = {origin["uri"]: origin["sha256"] for part in night["landed"] for origin in part["origins"]}
    assert origins == {str(file): sha256(file) for file in source.rglob("*.csv")}
    rows = sum(part["first_rows"] for part in night["landed"] if part["table"] == "events")
    assert rows == outcome["rows"]


def test_trace_names_every_file_of_the_snapshot_as_it_lies_there(
    finished: FinishedNight, traced: dict[str, Any]
) -> None:
    folders = [finished.checkout / "data" / name for name in ("accepted", "quarantine", "prepared")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    there = {str(file.relative_to(finished.checkout)): sha256(file) for file in files}
    assert {path: file["sha256"] for path, file in traced["snapshot"].items()} == there
    stages = [stage["stage"] for stage in traced["stages"]]
    assert [stage for stage in reversed(stages) if stage in STAGES] == STAGES
    written = {file["path"]: file["md5"] for stage in traced["stages"] for file in stage["outs"]}
    read = {file["path"]: file["md5"] for stage in traced["stages"] for file in stage["deps"]}
    assert {path: md5 for path, md5 in read.items() if path in written}.items() <= written.items()


def test_impact_leads_back_to_the_release_from_each_kind_of_thing(
    finished: FinishedNight, traced: dict[str, Any], source: Path
) -> None:
    newest = source / f"events/{LAST_DAY}/part-0.csv"
    row = pl.read_csv(newest).row(-1, named=True)
    (night,) = traced["nights"]
    reaching = [
        ("--user", str(row["user_id"])),
        ("--video", str(row["video_id"])),
        ("--day", str(LAST_DAY)),
        ("--file", str(newest)),
        ("--commit", night["code"][:10]),
        ("--package", f"polars=={pl.__version__}"),
    ]
    for words in reaching:
        found = answer(finished, "impact", *words)
        assert [release["release"] for release in found["releases"]] == [finished.outcome["release"]], words
        assert found["snapshots"] == [night["snapshot"]]
        (release,) = found["releases"]
        assert (release["live"], release["intervals"]) == (True, traced["entries"])


def test_impact_of_what_reached_nothing_is_an_answer_too(finished: FinishedNight) -> None:
    found = answer(finished, "impact", "--user", "nobody")
    assert (found["nights"], found["releases"], found["unindexed"]) == ([], [], [])
    done = run_cli(finished.project, "audit", "impact", "--user", "nobody", "--name", "files")
    assert (done.returncode, done.stdout) == (0, "user nobody in files: reached no snapshot, so no release.\n")


@pytest.mark.parametrize(
    ("words", "received"), [((), "none"), (("--user", "1", "--day", "2016-10-16"), "--user, --day")]
)
def test_impact_is_asked_about_one_thing(finished: FinishedNight, words: tuple[str, ...], received: str) -> None:
    done = run_cli(finished.project, "audit", "impact", *words)
    assert (done.returncode, done.stdout) == (2, "")
    options = "--file, --user, --video, --day, --commit, --package"
    assert done.stderr == f"BadInput: Impact is asked about exactly one of {options}. Received: {received}\n"


def test_the_report_is_one_file_that_tells_of_the_release(
    finished: FinishedNight, source: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    written = answer(finished, "report", finished.outcome["release"], "-o", str(page))
    assert written == {"report": str(page), "bytes": page.stat().st_size, "sha256": sha256(page)}
    html = page.read_text(encoding="utf-8")
    known = (finished.outcome[key] for key in ("release", "run", "commit"))
    assert all(text in html for text in (*known, *map(str, source.rglob("*.csv"))))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    done = run_cli(finished.project, "audit", "report", "zzz", "--name", "files", "-o", str(page))
    assert (done.returncode, page.read_text(encoding="utf-8")) == (2, html)
    done = run_cli(finished.project, "audit", "report", "", "--name", "files", "-o", "/no/page.html")
    assert done.returncode == 2
    assert done.stderr == "BadInput: /no/page.html cannot be used: No such file or directory.\n"


def test_help_of_the_room() -> None:
    listed = CliRunner().invoke(app, ["audit", "--help"])
    assert listed.exit_code == 0
    assert all(f" {command} " in listed.output for command in ("trace", "impact", "report"))


def printed(show: Any, content: Any) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False, emoji=False)
    show(console, content)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A night that went live, a refused one that was overridden, and the way back; a viewer called [bold]."""
    history = History(tmp_path)
    first = history.night(Night(days=(("2026-01-01", 1),), users=("[bold]",)))
    second = history.night(Night(days=(("2026-01-01", 1),), users=("[bold]", "eve"), passed=False))
    history.enter("override", second.release)
    history.enter("rollback", first.release)
    return history


def test_the_tree_of_an_override_says_so(history: History) -> None:
    books = {"ledger": history.ledger, "store": history.store}
    tree = printed(show_trace, trace(history.runs[1].release, releases=history.releases, **books))
    assert f"release {history.runs[1].release} of movielens, not live" in tree
    assert "entry 2, override, " in tree
    assert "until entry 3, " in tree
    assert "an override: it passed no gate; expires 2026-12-31" in tree
    assert "verdict: ease refused against popularity" in tree
    assert "/logs/events/2026-01-01.csv, 7 bytes, sha-256 " in tree
    assert "wrote data/prepared  md5 bb.dir" in tree


def test_the_table_has_a_line_for_each_time_that_a_release_was_live(history: History) -> None:
    query = Query.of("user", "[bold]")
    table = printed(show_impact, impact(query, ledger=history.ledger, store=history.store))
    assert "user [bold] in movielens" in table
    lines = [line for line in table.splitlines() if "release)" in line or "rollback)" in line or "override" in line]
    assert ["(1, release)" in lines[0], "(3, rollback)" in lines[1], "live now" in lines[1]] == [True] * 3
    assert "(2, override, expires 2026-12-31)" in lines[2]
    assert "nights: 2, snapshots: 2, model versions: 2, releases: 2, live now: 1" in table


def test_what_was_erased_and_what_has_no_record_is_said(history: History) -> None:
    history.erase("eve")
    (history.root / "store" / history.runs[0].key).unlink()
    books = {"ledger": history.ledger, "store": history.store}
    said = printed(show_impact, impact(Query.of("user", "eve"), **books))
    assert f"snapshot {history.runs[1].snapshot[:12]} has no index, so the answer says nothing of it" in said
    assert f"release {history.runs[0].release[:12]} has no night's record" in said
    retired = printed(show_trace, trace(history.runs[1].release, releases=history.releases, **books))
    assert "of movielens, retired" in retired
    bare = printed(show_trace, trace(history.runs[0].release, releases=history.releases, **books))
    assert "no night's record tells of this release" in bare


@pytest.mark.slow
def test_a_night_that_comes_to_what_is_live_is_reached_all_the_same(
    finished: FinishedNight, source: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(finished.project, tmp_path / "project", symlinks=True))
    more = Path(shutil.copytree(source, tmp_path / "source"))
    last = pl.read_csv(more / f"events/{LAST_DAY}/part-0.csv")
    tomorrow = LAST_DAY + timedelta(days=1)
    (more / f"events/{tomorrow}").mkdir()
    last.with_columns(pl.col("timestamp") + 86_400).write_csv(more / f"events/{tomorrow}/part-0.csv")
    outcome = retrain(project, more, as_of=tomorrow)
    assert (outcome["status"], outcome["release"]) == ("unchanged", finished.outcome["release"])
    reached = last_json(run_cli(project, "audit", "impact", "--day", str(tomorrow), *NAME, "--json").stdout)
    (night,) = reached["nights"]
    assert (night["run"], night["release"], night["verdict"]) == (outcome["run"], None, None)
    assert (reached["releases"], reached["unindexed"]) == ([], [])
    seen = last_json(run_cli(project, "audit", "impact", "--user", "624", *NAME, "--json").stdout)
    assert [one["run"] for one in seen["nights"]] == [finished.outcome["run"], outcome["run"]]
    holds = run_cli(project, "audit", "verify", *NAME)
    assert holds.returncode == 0, said(holds)
