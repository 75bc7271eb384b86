"""`nightreel audit reproduce`: a release rebuilt in a clean clone, and each planted change told by its name."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from infra.s3 import client, parse_url
from tests.flows.end_state import FinishedNight, git, home_of
from tests.flows.project import commit_all, last_json, make_project, retrain, run_cli, said
from tests.infra.servers import BUCKET, S3Server

CANDIDATES = ["popularity", "itemknn", "ease"]
EVENTS = "data/accepted/events.parquet"


@dataclass(frozen=True)
class Night:
    """A released night, its data in the cache and in a DVC remote."""

    project: Path
    remote: Path
    outcome: dict[str, Any]

    @property
    def release(self) -> str:
        return str(self.outcome["release"])

    @property
    def cache(self) -> Path:
        return self.project / ".nightreel/cache"

    def copy(self, folder: Path) -> "Night":
        """The same, to be spoilt. Its commit names the same remote."""
        project = shutil.copytree(self.project, folder / "project", symlinks=True)
        return Night(Path(project), self.remote, self.outcome)

    def cached(self, file: str) -> Path:
        """Where the cache keeps a file of the run."""
        lock = yaml.safe_load(git(self.project, "show", f"{self.outcome['commit']}:dvc.lock"))
        outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage["outs"]}
        folder = next(out for out in outs if file.startswith(f"{out}/"))
        listed = json.loads(self._object(outs[folder]).read_bytes())
        return self._object(next(one["md5"] for one in listed if f"{folder}/{one['relpath']}" == file))

    def _object(self, md5: str) -> Path:
        return self.cache / "files/md5" / md5[:2] / md5[2:]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, source: Path, finished: FinishedNight) -> Night:
    folder = tmp_path_factory.mktemp("reproduce")
    project = make_project(folder / "project", candidates=CANDIDATES)
    shutil.copytree(finished.home / "cache", home_of(project) / "cache")
    outcome = retrain(project, source, env={"NIGHTREEL_REMOTE": str(folder / "remote")})
    assert (outcome["status"], outcome["failed_candidates"]) == ("released", {})
    return Night(project, folder / "remote", outcome)


def reproduce(night: Night, *words: str, exit_code: int, env: dict[str, str] | None = None) -> dict[str, Any]:
    """The command's answer. Whatever it says, it leaves nothing in the clone's place and the project as it was."""
    before = git(night.project, "status", "--porcelain"), git(night.project, "for-each-ref")
    done = run_cli(night.project, "audit", "reproduce", night.release[:12], *words, "--json", env=env)
    assert done.returncode == exit_code, said(done)
    assert "Traceback" not in done.stderr, said(done)
    assert not (night.project / ".nightreel/reproduce" / night.release[:12]).exists()
    assert (git(night.project, "status", "--porcelain"), git(night.project, "for-each-ref")) == before
    answer = last_json(done.stdout)
    assert isinstance(answer, dict)
    return answer


def verdicts(answer: dict[str, Any]) -> dict[str, str]:
    return {candidate["name"]: candidate["verdict"] for candidate in answer["candidates"]}


def assert_bit_equal(answer: dict[str, Any], candidates: list[str]) -> None:
    assert verdicts(answer) == dict.fromkeys(candidates, "bit-equal")
    assert (answer["verdict"], answer["reproduced"], answer["unexplained"]) == ("bit-equal", True, [])
    assert all(candidate["model"]["equal"] for candidate in answer["candidates"])
    assert all(candidate["metric"]["difference"] == 0.0 for candidate in answer["candidates"])
    assert answer["index"]["equal"]
    lists = ("data", "prepared", "code", "params", "environment")
    assert {name: answer[name] for name in lists} == {name: [] for name in lists}
    assert answer["challenger"] is None


def test_a_night_is_rebuilt_bit_by_bit(night: Night) -> None:
    answer = reproduce(night, exit_code=0)
    assert_bit_equal(answer, CANDIDATES)
    assert [candidate["model"]["tensors"] for candidate in answer["candidates"]] == [1, 4, 4]
    assert answer["index"]["tensors"] == 4
    assert answer["tolerance"] == {"tensor": 1e-5, "metric": 1e-3}
    assert (answer["release"], answer["commit"]) == (night.release, night.outcome["commit"])
    assert answer["run_commit"] == night.outcome["commit"]


def test_with_an_empty_cache_the_data_comes_from_the_remote_that_the_commit_names(night: Night, tmp_path: Path) -> None:
    spoilt = night.copy(tmp_path)
    shutil.rmtree(spoilt.cache)
    assert_bit_equal(reproduce(spoilt, exit_code=0), CANDIDATES)
    assert not spoilt.cache.exists()


@pytest.mark.slow
def test_the_remote_can_be_on_s3(night: Night, tmp_path: Path, s3: S3Server) -> None:
    spoilt, remote = night.copy(tmp_path), s3.new_prefix()
    shutil.rmtree(spoilt.cache)
    connection, (_, prefix) = client(s3.settings()), parse_url(remote)
    for file in night.remote.rglob("*"):
        if file.is_file():
            connection.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(night.remote)}")
    assert_bit_equal(reproduce(spoilt, exit_code=0, env=s3.environment() | {"NIGHTREEL_REMOTE": remote}), CANDIDATES)


def test_one_changed_row_is_named_with_all_that_it_changed(night: Night, tmp_path: Path) -> None:
    spoilt = night.copy(tmp_path)
    plant_row(spoilt.cached(EVENTS))
    answer = reproduce(spoilt, exit_code=1)
    assert not answer["reproduced"]
    (changed,) = answer["data"]
    rows = night.outcome["rows"]
    assert (changed["file"], changed["how"]) == (EVENTS, f"differs: 1 row of {rows:,} changed (rating)")
    assert answer["unexplained"] == [f"{EVENTS} {changed['how']}, although the release names its digest."]
    assert "data/prepared/split.npy" in [file["file"] for file in answer["prepared"]]
    assert verdicts(answer) == dict.fromkeys(CANDIDATES, "different")
    (counts,) = answer["candidates"][0]["model"]["differences"]
    assert (counts["tensor"], counts["how"], counts["largest"]) == ("counts", "1 of 300 values differ", 1.0)
    assert (answer["code"], answer["params"], answer["environment"]) == ([], [], [])


def plant_row(path: Path) -> None:
    """One positive becomes none."""
    events = pl.read_parquet(path)
    row = events["rating"].to_list().index(5.0)
    path.unlink()  # the cache's files are linked into the run's checkout
    events.with_columns(
        rating=pl.when(pl.int_range(pl.len()) == row).then(pl.lit(0.5)).otherwise("rating")
    ).write_parquet(path)


@pytest.mark.slow
def test_a_damaged_stage_between_is_named_though_the_rebuild_does_without_it(night: Night, tmp_path: Path) -> None:
    spoilt = night.copy(tmp_path)
    videos = spoilt.cached("data/prepared/videos.parquet")
    content = pl.read_parquet(videos)
    videos.unlink()
    content.with_columns(title=pl.col("title").str.replace("Fargo", "Margo")).write_parquet(videos)
    answer = reproduce(spoilt, exit_code=1)
    (changed,) = answer["data"]
    assert (changed["file"], changed["how"]) == (
        "data/prepared/videos.parquet",
        "differs: 1 row of 300 changed (title)",
    )
    assert (answer["verdict"], answer["reproduced"], answer["prepared"]) == ("bit-equal", False, [])


def test_one_changed_parameter_is_named_and_only_its_candidate_differs(night: Night, tmp_path: Path) -> None:
    spoilt = night.copy(tmp_path)
    params = yaml.safe_load((spoilt.project / "params.yaml").read_text(encoding="utf-8"))
    params["train"]["ease"]["l2"] = 200.0
    answer = reproduce(spoilt, "--commit", edited(spoilt, "params.yaml", lambda _: yaml.safe_dump(params)), exit_code=1)
    assert answer["params"] == [{"what": "train.ease.l2", "recorded": "250.0", "now": "200.0"}]
    assert (answer["code"], answer["data"], answer["prepared"], answer["unexplained"]) == ([], [], [], [])
    assert verdicts(answer) == {"popularity": "bit-equal", "itemknn": "bit-equal", "ease": "different"}
    ease = answer["candidates"][2]["model"]
    assert [file["how"] for file in ease["files"]] == ["differs: config.l2: 200.0, recorded 250.0"]
    assert "data" in [difference["tensor"] for difference in ease["differences"]]
    assert not answer["index"]["equal"]
    assert answer["requested"]


def test_one_changed_line_of_training_code_is_named_and_only_its_candidate_differs(
    night: Night, tmp_path: Path
) -> None:
    spoilt = night.copy(tmp_path)
    commit = edited(spoilt, "models/popularity.py", lambda code: code.replace("= counts.astype", "= 2 * counts.astype"))
    answer = reproduce(spoilt, "--commit", commit, exit_code=1)
    assert answer["code"] == ["models/popularity.py"]
    assert (answer["params"], answer["data"], answer["prepared"], answer["unexplained"]) == ([], [], [], [])
    assert verdicts(answer) == {"popularity": "different", "itemknn": "bit-equal", "ease": "bit-equal"}
    popularity = answer["candidates"][0]
    (counts,) = popularity["model"]["differences"]
    assert (counts["tensor"], counts["how"]) == ("counts", "300 of 300 values differ")
    assert 0.5 < counts["relative"] <= 1.0
    assert popularity["metric"]["difference"] == 0.0  # twice the counts rank as before
    assert answer["index"]["equal"]


def edited(night: Night, file: str, edit: Callable[[str], str]) -> str:
    """Commit an edit of one file; the commit."""
    path = night.project / file
    before = path.read_text(encoding="utf-8")
    path.write_text(edit(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    commit_all(night.project, f"Edit {file}")
    return git(night.project, "rev-parse", "HEAD").strip()


def test_data_that_is_nowhere_any_more_is_one_sentence(night: Night, tmp_path: Path) -> None:
    spoilt = night.copy(tmp_path)
    path = spoilt.cached("data/candidates/itemknn/weights.safetensors")
    path.unlink()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    answer = reproduce(spoilt, exit_code=1, env={"NIGHTREEL_REMOTE": str(elsewhere)})
    md5 = f"{path.parent.name}{path.name}"
    assert answer == {
        "error": "Refused",
        "message": "data/candidates/itemknn/weights.safetensors is neither in the DVC cache "
        f"{spoilt.cache} nor in the remote {elsewhere} (DVC object {md5}), so it cannot be compared.",
    }


def test_a_snapshot_that_cannot_be_read_any_more_is_one_sentence(night: Night, tmp_path: Path) -> None:
    spoilt = night.copy(tmp_path)
    path = spoilt.cached(EVENTS)
    torn = path.read_bytes()[:-100]
    path.unlink()
    path.write_bytes(torn)
    answer = reproduce(spoilt, exit_code=1)
    assert answer["error"] == "Refused"
    said = f"The snapshot cannot be prepared again: {EVENTS} differs: it cannot be read any more ("
    assert answer["message"].startswith(said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--commit", "no-such-commit"), "has no commit no-such-commit."),
        (("--name", "other"), "No recommender other is live"),
    ],
)
def test_what_is_not_there_is_one_sentence(night: Night, words: tuple[str, ...], message: str) -> None:
    answer = reproduce(night, *words, exit_code=2)
    assert answer["error"] == "BadInput"
    assert message in answer["message"]


def test_a_person_sees_a_table(night: Night, tmp_path: Path) -> None:
    """All in one: a code change that breaks a candidate is told, and the others are compared all the same."""
    spoilt = night.copy(tmp_path)
    commit = edited(spoilt, "models/itemknn.py", lambda code: code.replace("Neighbours(compared(", "rank_(compared("))
    done = run_cli(spoilt.project, "audit", "reproduce", night.release, "--commit", commit)
    assert done.returncode == 1, said(done)
    lines = [" ".join(line.replace("│", " ").split()) for line in done.stdout.splitlines()]
    assert any(line.startswith(f"NOT REPRODUCED release {night.release[:12]}, different") for line in lines), said(done)
    assert any(line.startswith("popularity 1 bit-equal 0.0") for line in lines), said(done)
    assert any(line.startswith("itemknn 0 different none 0.0") for line in lines), said(done)
    assert "NameError: name 'rank_' is not defined" in " ".join(lines), said(done)
    assert "train@ease: " in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_movielens_release_is_rebuilt_bit_by_bit_for_all_candidates(tmp_path: Path, prefect_server: str) -> None:
    candidates = ["popularity", "itemknn", "ease", "sasrec"]
    project = make_project(tmp_path / "project", candidates=candidates, content_candidates=["content"])
    done = run_cli(project, "retrain", "--json")
    assert done.returncode == 0, said(done)
    answer = reproduce(Night(project, tmp_path, last_json(done.stdout)), exit_code=0)
    assert_bit_equal(answer, [*candidates, "content"])
