"""Bad input ends in one clear sentence or in quarantine, never in a stack trace, and the live release is untouched.

The issue's list, and the test that runs each entry from the command line to its end (the details of a rule are
tested beside the step: tests/tasks/test_readers_files.py, test_quarantine.py, test_validate.py, test_prepare.py).

| entry | here | at the step |
| --- | --- | --- |
| no git checkout | test_outside_a_git_checkout | |
| unknown key or wrong type in params.yaml | SENTENCES | |
| empty source | SENTENCES | test_readers_files, test_validate |
| CSV with a missing or extra column | SENTENCES | test_readers_files |
| mixed id types | SENTENCES | test_readers_files, test_landing |
| times in the future | test_dirty_rows | test_quarantine |
| times in local time | SENTENCES (no zone: refused) | test_validate (a zone that is wrong: quarantine) |
| NaN and negative watch times, duplicate rows, unknown videos | test_dirty_rows | test_quarantine |
| a truncated Parquet file, a half-uploaded day | test_dirty_rows | test_readers_files, test_landing |
| one user, one video | test_too_little_to_learn_from | test_prepare |
| a day with no events, a user with one event | test_dirty_rows | test_snapshot, test_prepare |
| non-ASCII and 10,000-character titles | test_dirty_rows | test_readers_files |
| a disk that is full | test_a_disk_that_fills_up, test_no_room_to_start | tests/infra/test_stores.py, test_content |
| an unreachable S3 | SENTENCES | tests/infra/test_stores.py, test_fetch |
| an unreachable MLflow, an unreachable Prefect | test_unreachable_services | |
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.flows.end_state import FinishedNight, entries, home_of
from tests.flows.project import COMMAND, LAST_DAY, cli_environment, last_json, night_words, run_cli, said

# Runs several command lines one after the other in one process, so that Prefect is imported once.
SEVERAL = """
import json, os, sys
from flows.cli import main
folder, codes = sys.argv[1], []
for number, words in enumerate(json.load(sys.stdin)):
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = ["nightreel", *words]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code)
    sys.stdout.flush()
with open(f"{folder}/codes.json", "w") as file:
    json.dump(codes, file)
"""


@dataclass(frozen=True)
class Told:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def live(finished: FinishedNight, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a live release, which nothing in this file may change."""
    project = tmp_path_factory.mktemp("live") / "project"
    return Path(shutil.copytree(finished.project, project, symlinks=True))


@pytest.fixture(autouse=True)
def _live_release_is_untouched(live: Path) -> object:
    before = [entry.encoded() for entry in entries(home_of(live))]
    yield
    assert [entry.encoded() for entry in entries(home_of(live))] == before
    assert len(before) == 1


def _newest(source: Path) -> Path:
    return source / f"events/{LAST_DAY}/part-0.csv"


def _drop_column(source: Path) -> None:
    pl.read_csv(_newest(source)).drop("timestamp").write_csv(_newest(source))


def _extra_column(source: Path) -> None:
    pl.read_csv(_newest(source)).with_columns(mood=pl.lit("good")).write_csv(_newest(source))


def _mixed_ids(source: Path) -> None:
    pl.read_csv(_newest(source)).with_columns(user_id="u" + pl.col("user_id").cast(pl.String)).write_csv(
        _newest(source)
    )


def _local_times(source: Path) -> None:
    times = pl.from_epoch("timestamp").dt.strftime("%Y-%m-%d %H:%M:%S")
    pl.read_csv(_newest(source)).with_columns(timestamp=times).write_csv(_newest(source))


def _no_events(source: Path) -> None:
    shutil.rmtree(source / "events")


def _header_only(source: Path) -> None:
    for day in (source / "events").iterdir():
        pl.read_csv(day / "part-0.csv").clear().write_csv(day / "part-0.csv")


def _one_user(source: Path) -> None:
    for day in (source / "events").iterdir():
        events = pl.read_csv(day / "part-0.csv")
        events.filter(pl.col("user_id") == events["user_id"][-1]).write_csv(day / "part-0.csv")
        if day.name != str(LAST_DAY):
            shutil.rmtree(day)


def _one_video(source: Path) -> None:
    videos = pl.concat(pl.read_csv(day / "part-0.csv") for day in (source / "events").iterdir())["video_id"]
    for day in (source / "events").iterdir():
        events = pl.read_csv(day / "part-0.csv")
        events.filter(pl.col("video_id") == videos.mode().min()).write_csv(day / "part-0.csv")


def _as_it_is(source: Path) -> None:
    pass


ONE_POSITIVE = ("--set", "prepare.min_viewer_events=1")
S3 = ("--path", "s3://nightreel/source")
# what is done to the source, the further words, the sentence
SENTENCES: dict[str, tuple[Callable[[Path], None], tuple[str, ...], str]] = {
    "unknown key": (_as_it_is, ("--set", "gate.marginn=3"), "params.yaml: unknown key gate.marginn"),
    "wrong type": (_as_it_is, ("--set", "seed=often"), "params.yaml: seed: input should be a valid integer"),
    "no YAML": (_as_it_is, ("--set", "seed=["), "The value of --set seed is not YAML. Received: 'seed=['"),
    "not a candidate": (_as_it_is, ("--set", "candidates=[elephant]"), "candidates.0: input should be 'popularity'"),
    "no events": (_no_events, ("--set", "name=fresh"), "holds no events"),
    "only headers": (_header_only, ("--set", "name=fresh"), f"has no events up to {LAST_DAY}"),
    "missing column": (_drop_column, (), f"{LAST_DAY}/part-0.csv lacks the column timestamp"),
    "extra column": (_extra_column, (), f"{LAST_DAY}/part-0.csv has the column mood, which the contract lacks"),
    "mixed ids": (_mixed_ids, (), "user_id must have one type"),
    "local times": (_local_times, (), "times carry Z or an offset"),
    "no folder": (shutil.rmtree, (), "must be a folder or an s3:// address"),
    "one user": (_one_user, ("--set", "name=one-user"), "Received: 1 viewers and"),
    "one video": (_one_video, ("--set", "name=one-video", *ONE_POSITIVE), "viewers and 1 videos"),
    "S3 away": (_as_it_is, S3, "S3 did not answer for s3://nightreel/source"),
}
AWAY = {
    "NIGHTREEL_S3_ENDPOINT": "http://127.0.0.1:1",
    "NIGHTREEL_S3_ACCESS_KEY": "somebody",
    "NIGHTREEL_S3_SECRET_KEY": "secret",
}


@pytest.fixture(scope="module")
def told(live: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What the night says to each of SENTENCES."""
    folder, commands = tmp_path_factory.mktemp("told"), []
    for number, (change, words, _) in enumerate(SENTENCES.values()):
        bad = Path(shutil.copytree(source, folder / f"source-{number}"))
        change(bad)
        commands.append(night_words(bad, *words))
    child = [sys.executable, "-c", SEVERAL, str(folder)]
    env = cli_environment(live, AWAY)
    subprocess.run(child, input=json.dumps(commands), cwd=live, env=env, text=True, check=True, timeout=300)
    codes = json.loads((folder / "codes.json").read_text())
    texts = [[(folder / f"{n}.{stream}").read_text() for stream in ("out", "err")] for n in range(len(codes))]
    return {name: Told(code, *text) for name, code, text in zip(SENTENCES, codes, texts, strict=True)}


@pytest.mark.parametrize("name", SENTENCES)
def test_bad_input_is_one_sentence(told: dict[str, Told], name: str) -> None:
    found = told[name]
    last = found.err.strip().splitlines()[-1]
    kind, _, sentence = last.partition(": ")
    assert (kind, found.code) in (("BadInput", 2), ("Unreachable", 2), ("Refused", 1))
    assert SENTENCES[name][2] in sentence
    assert found.out == ""
    assert "Traceback" not in found.err


def test_outside_a_git_checkout(live: Path, tmp_path: Path) -> None:
    for words in (("retrain",), ("status",), ("schedule",)):
        done = run_cli(live, *words, cwd=tmp_path)
        assert done.returncode == 2, said(done)
        assert done.stderr.startswith("BadInput: Nightreel runs inside a git checkout"), said(done)
        assert "git init" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_faulty_params_file_names_the_key(live: Path, source: Path) -> None:
    params = live / "params.yaml"
    kept = params.read_text(encoding="utf-8")
    try:
        for text, sentence in (
            (f"{kept}\nsedd: 1\n", "unknown key sedd"),
            (kept.replace("rating_at_least: 3.5", "rating_at_least: high"), "prepare.positives.rating_at_least: input"),
            ("a: [", "params.yaml is not YAML"),
            ("- 1\n", "must hold a mapping of sections. Received: list"),
        ):
            params.write_text(text, encoding="utf-8")
            done = run_cli(live, "recommend", "--user", "1")
            assert (done.returncode, done.stdout) == (2, ""), said(done)
            assert sentence in done.stderr
            assert done.stderr.count("\n") == 1
    finally:
        params.write_text(kept, encoding="utf-8")


REASONS = {
    "watch_seconds is negative, NaN or infinite": 2,
    f"timestamp is after {LAST_DAY}, the day of this snapshot": 1,
    "video_id is not among the accepted videos": 1,
    "repeats an earlier row of the same user, video and time": 1,
}


def _dirty(source: Path) -> None:
    """Put row faults into the newest day, and broken days before it."""
    newest = pl.read_csv(_newest(source))
    like = newest.head(1).with_columns(watch_seconds=pl.lit(1.0))
    noon = int(newest["timestamp"].max())  # type: ignore[arg-type]
    faulty = [
        like.with_columns(watch_seconds=pl.lit(float("nan")), timestamp=pl.lit(noon - 1)),
        like.with_columns(watch_seconds=pl.lit(-3.0), timestamp=pl.lit(noon - 2)),
        like.with_columns(timestamp=pl.lit(4_000_000_000)),
        like.with_columns(video_id=pl.lit(-7), timestamp=pl.lit(noon - 3)),
        like,  # again
        like.with_columns(user_id=pl.lit(999_999), timestamp=pl.lit(noon - 4)),  # a user with one event: sound
    ]
    pl.concat([newest.with_columns(watch_seconds=pl.lit(None, pl.Float64)), *faulty], how="vertical_relaxed").write_csv(
        _newest(source)
    )
    empty, cut, half = (source / f"events/{LAST_DAY - timedelta(days=days)}" for days in (10, 11, 12))
    for folder in (empty, cut, half):
        folder.mkdir()
    newest.clear().write_csv(empty / "part-0.csv")
    newest.write_parquet(cut / "part-0.parquet")
    (cut / "part-0.parquet").write_bytes((cut / "part-0.parquet").read_bytes()[:-20])
    newest.write_csv(half / "part-0.csv")
    digest = hashlib.sha256(b"not here yet").hexdigest()
    (half / "SHA256SUMS").write_text(f"{digest}  part-1.csv\n")


def _title(source: Path) -> str:
    """Give every second video a title of 10,000 letters and every other one a foreign one."""
    long, foreign = "é" * 10_000, '今天的晚饭 🍜, "quoted"'
    videos = pl.read_csv(source / "videos.csv").with_row_index()
    titles = pl.when(pl.col("index") % 2 == 0).then(pl.lit(long)).otherwise(pl.lit(foreign))
    videos.with_columns(title=titles).drop("index").write_csv(source / "videos.csv")
    return long


def test_dirty_rows_are_quarantined_and_broken_days_left_out(live: Path, source: Path, tmp_path: Path) -> None:
    dirty = Path(shutil.copytree(source, tmp_path / "dirty"))
    _dirty(dirty)
    long = _title(dirty)
    done = run_cli(live, *night_words(dirty, "--set", "name=dirty"), "--json")
    assert done.returncode == 0, said(done)
    assert "Traceback" not in done.stderr
    outcome = last_json(done.stdout)
    assert (outcome["status"], outcome["quarantined"]) == ("released", 5)
    run = home_of(live) / "runs" / outcome["run"] / "checkout"
    rows = pl.read_parquet(run / "data/quarantine/events.parquet")
    assert Counter(rows["reason"].to_list()) == REASONS
    left = {
        Path(each["uri"]).parent.name: each["reason"]
        for each in json.loads((run / "data/landed.json").read_text())["left_out"]
    }
    cut, half = (str(LAST_DAY - timedelta(days=days)) for days in (11, 12))
    assert left.keys() == {cut, half}
    assert left[cut].startswith("it cannot be read: ")
    assert left[half] == "half-uploaded: SHA256SUMS names part-1.csv, which is not there"
    shown = run_cli(live, "recommend", "--user", "999999", "--name", "dirty", "--json")
    assert {video["title"] for video in last_json(shown.stdout)["videos"]} <= {long, '今天的晚饭 🍜, "quoted"'}
    table = run_cli(live, "recommend", "--user", "999999", "--name", "dirty", env={"COLUMNS": "100"})
    assert max(map(len, table.stdout.splitlines())) <= 100
    assert table.stdout.count("\n") < 40, said(table)


def test_a_disk_that_fills_up(live: Path, source: Path, tmp_path: Path) -> None:
    done = _on_a_small_disk(live, tmp_path, 17, *night_words(source, "--set", "train.itemknn.neighbours=60"))
    assert done.returncode == 2, said(done)
    assert re.match(r"(BadInput|Unreachable): .*disk of .*ree some space there and run again\.$", _last(done)), said(
        done
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_no_room_to_start(live: Path, source: Path, tmp_path: Path) -> None:
    done = _on_a_small_disk(live, tmp_path, 8, *night_words(source))
    home = tmp_path / "small/home"
    told = f"There is no room for {home}. Only 8.0 MB are left on the disk of {home.parent}: free some space there"
    assert (done.returncode, done.stderr) == (2, f"BadInput: {told} and run again.\n"), said(done)


def _on_a_small_disk(live: Path, folder: Path, megabytes: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """The night with its home on a disk of that size, and the store and the key of `live`."""
    small = folder / "small"
    small.mkdir()
    mount = f'mount -t tmpfs -o size={megabytes}m none "{small}" && exec "$@"'
    unshare = [shutil.which("unshare") or "", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not unshare[0] or subprocess.run([*unshare, mount, "sh", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk of his own")
    places = {"NIGHTREEL_HOME": str(small / "home"), "NIGHTREEL_STORE": str(home_of(live) / "store")}
    places["NIGHTREEL_SIGNING_KEY"] = str(home_of(live) / "keys/signing.pem")
    env = cli_environment(live, places)
    child = [*unshare, mount, "sh", *COMMAND, *words]
    return subprocess.run(child, cwd=live, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_unreachable_services(live: Path, source: Path) -> None:
    words = night_words(source, "--set", "train.itemknn.neighbours=60")
    started = time.monotonic()
    done = run_cli(live, *words, env={"PREFECT_API_URL": "http://127.0.0.1:1/api"})
    told = "Prefect's server at http://127.0.0.1:1/api/ did not answer: "
    assert (done.returncode, _last(done).partition("[")[0]) == (2, f"Unreachable: {told}"), said(done)
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - started < 60
    away = {"NIGHTREEL_MLFLOW_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = run_cli(live, *words, env=away)
    assert done.returncode == 2, said(done)
    assert _last(done).startswith("Unreachable: MLflow at http://127.0.0.1:1 did not carry out a request: "), said(done)
    assert "Connection refused. Check NIGHTREEL_MLFLOW_URI" in _last(done)
    assert "Traceback" not in done.stderr


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    return done.stderr.strip().splitlines()[-1]
