"""A whole night whose source, store, DVC remote and MLflow artifacts are on a real S3 server."""

import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from infra.s3 import client, parse_url
from infra.stores import open_store
from lineage.lease import LEASES
from lineage.ledger import Entry, Ledger
from tests.flows.end_state import dvc, git, home_of
from tests.flows.project import last_json, night_words, retrain, run_cli, said, start_cli
from tests.infra.servers import BUCKET, S3Server, seaweed


@dataclass(frozen=True)
class OnS3:
    """A project and the places on S3 that its nights use."""

    project: Path
    server: S3Server
    prefix: str

    @property
    def source(self) -> str:
        """Where the source lies."""
        return f"{self.prefix}/source"

    def environment(self) -> dict[str, str]:
        """What leads a child to these places."""
        places = {"NIGHTREEL_STORE": "store", "NIGHTREEL_REMOTE": "remote", "NIGHTREEL_MLFLOW_ARTIFACTS": "artifacts"}
        return self.server.environment() | {name: f"{self.prefix}/{place}" for name, place in places.items()}

    def entries(self) -> list[Entry]:
        """The ledger."""
        store = open_store(f"{self.prefix}/store", self.server.settings())
        return list(Ledger(store, "files").entries())

    def keys(self, place: str) -> list[str]:
        """Keys below a place."""
        found = open_store(f"{self.prefix}/{place}", self.server.settings()).keys("")
        return [key for key in found if not key.startswith(LEASES)]  # whose state each night moves on


@contextmanager
def on_s3(template: Path, source: Path, server: S3Server, folder: Path) -> Iterator[OnS3]:
    """A fresh project, and `source` uploaded."""
    project = Path(shutil.copytree(template, folder / "project"))
    places = OnS3(project, server, server.new_prefix())
    s3, (_, prefix) = client(server.settings()), parse_url(places.source)
    for file in source.rglob("*.csv"):
        s3.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(source)}")
    yield places


@dataclass(frozen=True)
class Night:
    """A night that ended, and where."""

    at: OnS3
    outcome: dict[str, Any]

    @property
    def data(self) -> Path:
        """The data in the run's checkout."""
        return home_of(self.at.project) / "runs" / self.outcome["run"] / "checkout/data"


@pytest.fixture(scope="module")
def night(
    template: Path, source: Path, s3: S3Server, prefect_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Night]:
    with on_s3(template, source, s3, tmp_path_factory.mktemp("s3")) as at:
        yield Night(at, retrain(at.project, at.source, env=at.environment()))  # type: ignore[arg-type]


def test_the_night_is_released_and_everything_lies_on_s3(night: Night) -> None:
    assert (night.outcome["status"], night.outcome["seq"]) == ("released", 1)
    (entry,) = night.at.entries()
    assert entry.release == night.outcome["release"]
    assert f"manifests/{entry.release}.json" in night.at.keys("store")
    assert any(key.startswith("files/md5/") for key in night.at.keys("remote"))
    artifacts = night.at.keys("artifacts")
    assert any(key.endswith("/verdict/verdict.json") for key in artifacts)
    assert any(key.endswith("/artifacts/MLmodel") for key in artifacts)
    home = home_of(night.at.project)
    assert not (home / "store").exists()
    assert not (home / "mlartifacts").exists()


def test_what_landed_names_its_origin_on_s3(night: Night) -> None:
    landed = (night.data / "landed.json").read_text(encoding="utf-8")
    assert f'"uri": "{night.at.source}/events/2016-10-16/part-0.csv"' in landed
    assert night.at.server.secret_key not in landed


def test_no_secret_is_committed_or_logged(night: Night) -> None:
    secret, run = night.at.server.secret_key, night.outcome["run"]
    assert secret not in git(night.at.project, "show", f"refs/nightreel/runs/{run}:.dvc/config")
    logs = list((night.data.parent.parent / "log").iterdir())
    assert len(logs) == 12
    assert not any(secret in log.read_text(encoding="utf-8") for log in logs)


def test_a_second_machine_recommends_from_the_store_and_a_key_to_trust(night: Night, tmp_path: Path) -> None:
    words = ("recommend", "--user", "1", "--json")
    second = night.at.environment() | {"NIGHTREEL_HOME": str(tmp_path / "home")}
    stranger = run_cli(night.at.project, *words, env=second | {"NIGHTREEL_HOME": str(tmp_path / "stranger")})
    assert stranger.returncode == 1
    assert "which is not trusted here" in stranger.stdout
    key = last_json(run_cli(night.at.project, "audit", "key", "--json", env=night.at.environment()).stdout)
    (tmp_path / "first.pem").write_text(key["public_key"])
    there = run_cli(night.at.project, *words, env=second | {"NIGHTREEL_TRUSTED_KEYS": str(tmp_path / "first.pem")})
    assert there.returncode == 0, said(there)
    here = run_cli(night.at.project, *words, env=night.at.environment())
    answered, at_home = last_json(there.stdout), last_json(here.stdout)
    assert answered.pop("signature") == key["keyid"][:12]
    assert at_home.pop("signature") == f"{key['keyid'][:12]} (a local key, generated on this machine)"
    assert answered == at_home
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["releases", "witness"]


def test_an_audit_on_s3_holds_until_an_object_there_is_changed(night: Night) -> None:
    env = night.at.environment()
    holds = run_cli(night.at.project, "audit", "verify", "--json", env=env)
    assert holds.returncode == 0, said(holds)
    checked = last_json(holds.stdout)
    assert (checked["releases"], checked["nights"], checked["entries"], checked["findings"]) == (1, 1, 1, [])
    traced = last_json(run_cli(night.at.project, "audit", "trace", night.outcome["release"], "--json", env=env).stdout)
    (made,) = traced["nights"]
    (origin, *_) = made["landed"][0]["origins"]
    assert origin["uri"].startswith(f"{night.at.source}/")
    assert origin["etag"]
    reached = last_json(run_cli(night.at.project, "audit", "impact", "--user", "624", "--json", env=env).stdout)
    assert [one["release"] for one in reached["nights"]] == [night.outcome["release"]]
    with _changed(night, "store", "attestations/"), _changed(night, "remote", "files/md5/"):
        fails = run_cli(night.at.project, "audit", "verify", "--json", env=env)
        assert fails.returncode == 1, said(fails)
        assert [finding["kind"] for finding in last_json(fails.stdout)["findings"]] == ["attestation", "DVC object"]
        refused = run_cli(night.at.project, "recommend", "--user", "1", env=env)
        assert refused.returncode == 1, said(refused)


@contextmanager
def _changed(night: Night, place: str, prefix: str) -> Iterator[None]:
    """One byte of the first object below `prefix`, until the block ends."""
    s3, (bucket, root) = client(night.at.server.settings()), parse_url(f"{night.at.prefix}/{place}")
    key = next(key for key in night.at.keys(place) if key.startswith(prefix) and not key.endswith(".dir"))
    whole = s3.get_object(Bucket=bucket, Key=f"{root}/{key}")["Body"].read()
    s3.put_object(Bucket=bucket, Key=f"{root}/{key}", Body=whole[:-1] + bytes([whole[-1] ^ 1]))
    yield
    s3.put_object(Bucket=bucket, Key=f"{root}/{key}", Body=whole)


def test_the_same_night_again_changes_nothing(night: Night) -> None:
    before = [night.at.keys(place) for place in ("store", "remote", "artifacts")]
    again = retrain(night.at.project, night.at.source, env=night.at.environment())  # type: ignore[arg-type]
    assert again["status"] == "unchanged"
    assert [night.at.keys(place) for place in ("store", "remote", "artifacts")] == before


def test_a_clone_pulls_the_nights_bytes(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", night.at.server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", night.at.server.secret_key)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(night.at.project), str(clone))
    git(clone, "fetch", "-q", "origin", f"refs/nightreel/runs/{night.outcome['run']}")
    git(clone, "checkout", "-q", "--detach", "FETCH_HEAD")
    dvc(clone, "pull")
    assert _digests(clone / "data") == _digests(night.data)


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("words", [("retrain",), ("status",), ("recommend", "--user", "1")])
def test_wrong_keys_are_one_sentence(night: Night, words: tuple[str, ...], tmp_path: Path) -> None:
    wrong = night.at.environment() | {"NIGHTREEL_S3_SECRET_KEY": "wrong", "NIGHTREEL_HOME": str(tmp_path / "home")}
    words = night_words(night.at.source) if words == ("retrain",) else words  # type: ignore[arg-type]
    done = run_cli(night.at.project, *words, env=wrong)
    assert (done.returncode, done.stdout) == (2, ""), said(done)
    assert "S3 refused access to s3://nightreel/" in done.stderr.strip().splitlines()[-1], said(done)
    assert "Traceback" not in done.stderr
    assert len(night.at.entries()) == 1


@pytest.mark.slow
def test_a_server_killed_midway_stops_the_night_and_its_return_ends_it(
    template: Path, source: Path, prefect_server: str, tmp_path: Path
) -> None:
    (folder := tmp_path / "weed").mkdir()
    with seaweed(folder) as server, on_s3(template, source, server, tmp_path) as at:
        started = start_cli(at.project, *night_words(at.source), env=at.environment())  # type: ignore[arg-type]
        _wait_for_ingest(home_of(at.project), started)
        server.kill()
        assert started.wait(timeout=200) == 2
        log = (tmp_path / "project.log").read_text(encoding="utf-8")
        assert "Traceback" not in log
        assert log.strip().splitlines()[-1].startswith(f"Unreachable: S3 did not answer for {at.prefix}/store"), log
        with _again(server, folder):
            assert at.entries() == []
            outcome = retrain(at.project, at.source, env=at.environment())  # type: ignore[arg-type]
            assert (outcome["status"], outcome["seq"], outcome["model_version"]) == ("released", 1, "1")
            assert len(at.entries()) == 1


def _wait_for_ingest(home: Path, started: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while not any(home.glob("runs/*/log/ingest.jsonl")):
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def _again(server: S3Server, folder: Path) -> Iterator[None]:
    """The killed server, on the same folder and ports."""
    with (folder / "weed-again.log").open("wb") as log:
        process = subprocess.Popen(server.process.args, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_until_it_writes(server)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_until_it_writes(server: S3Server) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            client(server.settings()).put_object(Bucket=BUCKET, Key="ready", Body=b"again")
            return
        except (ClientError, BotoCoreError):
            assert time.monotonic() < deadline
            time.sleep(0.3)
