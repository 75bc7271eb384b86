"""A run's worktree: what it is told each time that it is opened."""

import configparser
import shutil
from pathlib import Path
from typing import TextIO

import pytest
from dvc.repo import Repo

from infra.checkout import Inputs, checked_out
from infra.errors import Unreachable
from infra.git import git
from infra.pipeline import pipeline_of
from infra.settings import Settings
from tests.infra.servers import free_ports

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages that DVC imports


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """A run of a repository with one file in DVC's care."""
    root = tmp_path / "root"
    root.mkdir()
    git("init", "-q", "-b", "main", at=root)
    with Repo.init(str(root)) as repo:
        (root / "a.txt").write_text("a")
        repo.add(str(root / "a.txt"))
    shutil.copy(Path(__file__).parents[2] / ".dvc/config", root / ".dvc/config")
    git("add", "-A", at=root)
    git("commit", "-q", "-m", "Start", at=root)
    commit = git("rev-parse", "HEAD", at=root)
    return Inputs(root, commit, params="{}\n", landed="{}\n", as_of="2016-10-16", clean=True)


def test_a_run_that_is_found_again_asks_s3_where_it_is_now(inputs: Inputs, tmp_path: Path) -> None:
    def endpoint(url: str) -> str:
        settings = Settings(home=tmp_path / "home", remote="s3://bucket/dvc", s3_endpoint=url)
        with checked_out(inputs, settings) as run:
            config = configparser.ConfigParser()
            config.read(run.path / ".dvc/config")
            return config["'remote \"nightreel\"'"]["endpointurl"]

    assert [endpoint(f"http://127.0.0.1:{port}") for port in (1, 2, 2)] == [
        f"http://127.0.0.1:{port}" for port in (1, 2, 2)
    ]


def test_a_kill_while_it_is_told_leaves_what_it_was_told_before(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "home", remote="s3://bucket/dvc", s3_endpoint="http://127.0.0.1:1")
    with checked_out(inputs, settings) as run:
        files = [run.path / ".dvc" / name for name in ("config", "config.local")]
    before = [file.read_bytes() for file in files]

    def half(_: configparser.ConfigParser, file: TextIO) -> None:
        file.write("[co")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(configparser.ConfigParser, "write", half)
        with pytest.raises(KeyboardInterrupt), checked_out(inputs, settings):
            pass
    assert [file.read_bytes() for file in files] == before
    with checked_out(inputs, settings):
        assert git("status", "--porcelain", "--", ".dvc", at=run.path) == "M .dvc/config"


def test_a_remote_that_does_not_answer_is_one_sentence(inputs: Inputs, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = Settings(
        home=tmp_path / "home",
        remote="s3://bucket/dvc",
        s3_endpoint=f"http://127.0.0.1:{port}",
        s3_access_key="key",
        s3_secret_key="secret",
    )
    with checked_out(inputs, settings) as run, pipeline_of(run, settings) as pipeline:
        (run.path / "a.txt").write_text("a")
        with Repo(str(run.path)) as repo:
            repo.add("a.txt")
        with pytest.raises(Unreachable, match=r"^dvc push to s3://bucket/dvc failed: .*Could not connect"):
            pipeline.push()
