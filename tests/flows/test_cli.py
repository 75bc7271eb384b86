"""Every command, with and without `--json`, on a small recommender that has been live twice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from infra.errors import BadInput
from tests.flows.end_state import entries, home_of
from tests.flows.project import cli_environment, last_json, night_words, run_cli, said

COMMANDS = (
    "retrain",
    "replay",
    "leaderboard",
    "tune",
    "schedule",
    "worker",
    "recommend",
    "profile",
    "refresh",
    "video",
    "regions",
    "encode",
    "rank",
    "releases",
    "show",
    "status",
    "promote",
    "approve",
    "reject",
    "reconcile",
    "rollback",
    "gc",
)
AUDIT = ("trace", "impact", "verify", "reproduce", "erase", "hold", "unhold", "holds", "report", "key")
HEAVY = ("tensorflow", "keras", "prefect", "mlflow", "polars", "boto3", "botocore", "pandas", "numpy", "dvc", "faiss")


@pytest.fixture(scope="module")
def live(two_releases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `two_releases`."""
    return Path(shutil.copytree(two_releases, tmp_path_factory.mktemp("cli") / "project", symlinks=True))


def answer(project: Path, *words: str, code: int = 0, **env: str) -> Any:
    """What a command prints as JSON."""
    done = run_cli(project, *words, "--json", env=env)
    assert done.returncode == code, said(done)
    assert done.stderr == "", said(done)
    return last_json(done.stdout)


def told(project: Path, *words: str, code: int) -> str:
    """The one sentence of a command that says no."""
    done = run_cli(project, *words)
    assert (done.returncode, done.stdout) == (code, ""), said(done)
    assert done.stderr.count("\n") == 1, said(done)
    return done.stderr.strip()


def test_help_lists_every_command_and_each_has_its_own() -> None:
    listed = CliRunner().invoke(app, ["--help"])
    assert listed.exit_code == 0
    assert all(f" {command} " in listed.output for command in COMMANDS)
    for command in COMMANDS:
        own = CliRunner().invoke(app, [command, "--help"])
        assert (own.exit_code, command == "worker" or "--json" in own.output) == (0, True)
    for command in AUDIT:
        own = CliRunner().invoke(app, ["audit", command, "--help"])
        assert (own.exit_code, "--json" in own.output) == (0, True), command


def test_help_needs_nothing_heavy(template: Path) -> None:
    script = "import sys\nfrom flows.cli import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
    script += f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    env = cli_environment(template)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=template, env=env, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        ("dance",),
        ("recommend",),
        ("recommend", "--user", "1", "-k", "0"),
        ("retrain", "--source", "netflix"),
        ("retrain", "--as-of", "yesterday"),
        ("replay", "--path", "x", "--from", "2022-04-08"),
        ("promote", "1"),
        ("rollback", "--reason", "x", "--to", "last"),
        ("leaderboard", "--split", "none"),
        ("leaderboard", "-k", "0"),
        ("show",),
    ],
)
def test_usage_faults_end_with_two(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(words)).exit_code == 2


def test_a_picture_of_another_kind_is_refused_before_anything_is_trained() -> None:
    refusal = CliRunner().invoke(app, ["leaderboard", "--plot", "out.gif"]).exception
    assert isinstance(refusal, BadInput)
    assert str(refusal) == "--plot takes a file that ends in .png, .svg, .pdf. Received: 'out.gif'"


def test_recommend_excludes_what_was_watched_and_names_titles(live: Path, source: Path) -> None:
    import polars as pl

    user = pl.read_csv(source / "events/2016-10-16/part-0.csv")["user_id"][-1]
    log = pl.concat(pl.read_csv(file) for file in (source / "events").rglob("*.csv"))
    watched = set(log.filter((pl.col("user_id") == user) & (pl.col("rating") >= 3.5))["video_id"])
    shown = answer(live, "recommend", "--user", str(user), "-k", "5")
    assert (shown["user"], shown["reason"], shown["seq"], len(shown["videos"])) == (str(user), "history", 2, 5)
    assert not watched & {video["video_id"] for video in shown["videos"]}
    titles = dict(pl.read_csv(source / "videos.csv").iter_rows())
    assert [video["title"] for video in shown["videos"]] == [titles[video["video_id"]] for video in shown["videos"]]
    scores = [video["score"] for video in shown["videos"]]
    assert scores == sorted(scores, reverse=True)
    table = run_cli(live, "recommend", "--user", str(user), "-k", "5", env={"COLUMNS": "120"})
    assert table.returncode == 0, said(table)
    assert all(video["title"][:30] in table.stdout for video in shown["videos"])


def test_why_and_who(live: Path, source: Path) -> None:
    import polars as pl

    log = pl.concat(pl.read_csv(file) for file in (source / "events").rglob("*.csv")).filter(pl.col("rating") >= 3.5)
    user = log["user_id"][-1]
    watched = set(log.filter(pl.col("user_id") == user)["video_id"])
    shown = answer(live, "recommend", "--user", str(user), "-k", "3", "--explain")
    for video in shown["videos"]:
        assert video["because"]
        assert {each["video_id"] for each in video["because"]} <= watched
        assert sum(each["score"] for each in video["because"]) <= video["score"] + 1e-5
    known = answer(live, "profile", "--user", str(user))
    assert known["activity"]["videos"] == len(watched)
    assert {video["video_id"] for video in known["newest"]} <= watched
    hidden = answer(live, "profile", "--user", str(user), "--private")
    assert (hidden["user"], "newest" in hidden) == (None, False)
    assert "knows no viewer of that id. Received: 'nobody'" in told(live, "profile", "--user", "nobody", code=2)


@pytest.mark.parametrize("user", ["4711000", "nobody", "-1", "²", "99999999999999999999999"])
def test_an_unknown_viewer_gets_the_popular_list_and_is_told_so(live: Path, user: str) -> None:
    shown = answer(live, "recommend", f"--user={user}", "-k", "3")
    assert (shown["reason"], len(shown["videos"])) == ("popular", 3)
    table = run_cli(live, "recommend", f"--user={user}", "-k", "3")
    assert f"Viewer {user} is unknown to the live release: the popular list." in " ".join(table.stdout.split())


def test_k_beyond_the_catalogue_is_refused(live: Path) -> None:
    sentence = told(live, "recommend", "--user", "1", "-k", "301", code=2)
    assert sentence == "BadInput: k must lie in 1..300, the size of the catalogue. Received: k=301"
    assert answer(live, "recommend", "--user", "1", "-k", "301", code=2) == {
        "error": "BadInput",
        "message": "k must lie in 1..300, the size of the catalogue. Received: k=301",
    }


def test_status_releases_and_show_agree(live: Path) -> None:
    first, second = entries(home_of(live))
    status = answer(live, "status")
    assert (status["recommender"], status["live release"], status["entry"]) == ("files", second.release, 2)
    assert (status["candidate"], status["data until"], status["by"]) == ("itemknn", "2016-10-16", "tests")
    assert answer(live, "releases") == [entry.model_dump() | {"ended": None} for entry in (first, second)]
    shown = answer(live, "show", first.release[:8])
    assert (shown["release"], shown["live"]) == (first.release, False)
    assert shown["entries"] == [first.model_dump()]
    assert shown["manifest"]["candidate"] == "itemknn"
    assert shown["verdict"]["passed"] is True
    assert answer(live, "show", second.release)["live"] is True


def test_tables_name_what_the_json_names(live: Path) -> None:
    first, second = entries(home_of(live))
    wide = {"COLUMNS": "100"}
    status = run_cli(live, "status", env=wide).stdout
    assert second.release in status.replace("\n", "").replace(" ", "")
    releases = run_cli(live, "releases", env=wide).stdout
    assert all(entry.release[:12] in releases for entry in (first, second))
    shown = run_cli(live, "show", first.release[:8], env=wide).stdout
    assert "itemknn" in shown
    assert "vocabulary.parquet" in shown


def test_a_release_that_is_not_there_or_not_the_only_one(live: Path) -> None:
    assert told(live, "show", "zzz", code=2) == (
        "BadInput: No release in the ledger of files with an id that starts so. Received: 'zzz'"
    )
    assert told(live, "show", "", code=2) == (
        "BadInput: Several releases in the ledger of files with an id that starts so. Received: ''"
    )


def test_promote_takes_only_what_passed(live: Path) -> None:
    before = entries(home_of(live))
    assert told(live, "promote", "3", "--reason", "please", code=1) == (
        "Refused: Model version 3 of files cannot go live: its verdict is refused. Past the gate leads only "
        "`--override --expires DATE`."
    )
    assert told(live, "promote", "2", "--reason", "again", code=1) == (
        "Refused: Model version 2 of files is live already, as entry 2."
    )
    assert told(live, "promote", "77", "--reason", "x", code=2).startswith("BadInput: There is no model version 77 of ")
    assert told(live, "rollback", "--to", "9", "--reason", "x", code=2).startswith("BadInput: ")
    assert told(live, "rollback", "--to", "2", "--reason", "x", code=2) == (
        "BadInput: Entry 2 names the release that is live already. Received: --to 2"
    )
    assert entries(home_of(live)) == before


def test_rollback_and_promote_go_there_and_back(live: Path) -> None:
    first, second = entries(home_of(live))[:2]
    back = answer(live, "rollback", "--reason", "viewers complain")
    assert (back["seq"], back["action"], back["release"]) == (3, "rollback", first.release)
    assert (back["reason"], back["by"], back["model_version"]) == ("viewers complain", "tests", "1")
    assert answer(live, "recommend", "--user", "1")["release"] == first.release
    forth = answer(live, "promote", "2", "--reason", "it was the network", NIGHTREEL_ACTOR="ada")
    assert (forth["seq"], forth["action"], forth["release"], forth["by"]) == (4, "promote", second.release, "ada")
    done = run_cli(live, "rollback", "--to", "1", "--reason", "no, it was not")
    assert done.returncode == 0, said(done)
    assert [entry.release for entry in entries(home_of(live))] == [entry.release for entry in (first, second) * 2] + [
        first.release
    ]
    assert answer(live, "promote", "2", "--reason", "as it was")["seq"] == 6


@pytest.mark.slow
def test_several_recommenders_need_a_name(live: Path, source: Path) -> None:
    done = run_cli(live, *night_words(source, "--set", "name=second"), "--json")
    assert done.returncode == 0, said(done)
    assert (
        told(live, "status", code=2)
        == "BadInput: Several recommenders are live: files, second. Choose one with --name."
    )
    assert answer(live, "status", "--name", "second")["recommender"] == "second"
    assert answer(live, "recommend", "--user", "1", "--name", "files")["release"] == entries(home_of(live))[-1].release
    assert told(live, "status", "--name", "third", code=2).startswith("BadInput: No recommender third is live in ")
    assert told(live, "rollback", "--name", "second", "--reason", "x", code=2) == (
        "BadInput: No other release of second was ever live, so there is none to roll back to."
    )


def test_where_nothing_is_live_every_command_says_so(template: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(template, tmp_path / "project"))
    for words in (("status",), ("releases",), ("recommend", "--user", "1"), ("rollback", "--reason", "x")):
        sentence = told(project, *words, code=2)
        assert sentence == (
            f"BadInput: Nothing is live in {project}/.nightreel/store: no night has released. Run `nightreel retrain`."
        )


def test_errors_as_json_have_a_kind_and_a_message(template: Path, tmp_path: Path) -> None:
    done = run_cli(template, "status", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "BadInput"
