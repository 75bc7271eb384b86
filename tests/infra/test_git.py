"""Snapshots of a checkout that leave it as it is, and sentences where there is none."""

import pytest

from infra.errors import BadInput
from infra.git import git, project_root, snapshot


@pytest.fixture
def checkout(tmp_path):
    git("init", "-q", "-b", "main", at=tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    git("add", "-A", at=tmp_path)
    git("commit", "-q", "-m", "Start", at=tmp_path)
    return tmp_path


def test_a_clean_checkout_is_its_head(checkout):
    assert snapshot(checkout) == git("rev-parse", "HEAD", at=checkout)


def test_uncommitted_changes_take_part_and_nothing_changes(checkout):
    (checkout / "dvc.yaml").write_text("stages: {a: {cmd: 'true'}}\n")
    before = git("status", "--porcelain", at=checkout)
    commit = snapshot(checkout)
    assert git("show", f"{commit}:dvc.yaml", at=checkout) == "stages: {a: {cmd: 'true'}}"
    assert git("rev-parse", f"{commit}^", at=checkout) == git("rev-parse", "HEAD", at=checkout)
    assert git("status", "--porcelain", at=checkout) == before
    assert git("stash", "list", at=checkout) == ""


def test_the_root_is_found_from_below(checkout):
    (checkout / "below").mkdir()
    assert project_root(checkout / "below") == checkout


def test_no_checkout_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match=r"Nightreel runs inside a git checkout .* Received: "):
        project_root(tmp_path)


def test_no_commit_is_the_same_sentence(tmp_path):
    git("init", "-q", at=tmp_path)
    with pytest.raises(BadInput, match="with at least one commit"):
        project_root(tmp_path)


def test_no_pipeline_is_named(checkout):
    git("rm", "-q", "dvc.yaml", at=checkout)
    with pytest.raises(BadInput, match=r"No dvc\.yaml at the top of the checkout"):
        project_root(checkout)


def test_gits_own_reason_is_passed_on(checkout):
    with pytest.raises(BadInput, match=r"git show failed in .*: .+"):
        git("show", "nowhere", at=checkout)
