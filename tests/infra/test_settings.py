"""Defaults of one machine, and what the environment changes."""

import pytest

from infra.errors import BadInput
from infra.git import git
from infra.settings import Settings, git_common_dir, settings_at


def test_state_lies_beside_the_git_folder_for_every_worktree(tmp_path, monkeypatch):
    monkeypatch.delenv("NIGHTREEL_HOME", raising=False)
    main, other = tmp_path / "main", tmp_path / "other"
    main.mkdir()
    git("init", "-q", at=main)
    git("commit", "-q", "--allow-empty", "-m", "Start", at=main)
    git("worktree", "add", "-q", str(other), at=main)
    for place in (main, other):
        monkeypatch.chdir(place)
        assert Settings().home_dir == main / ".nightreel"
        assert Settings().store_url == str(main / ".nightreel/store")


def test_no_checkout_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="Nightreel runs inside a git checkout"):
        git_common_dir(tmp_path)


def test_the_environment_decides_and_keys_stay_hidden(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTREEL_STORE", "s3://bucket/store")
    monkeypatch.setenv("NIGHTREEL_S3_SECRET_KEY", "very-secret")
    monkeypatch.setenv("NIGHTREEL_ACTOR", "ada")
    settings = Settings()
    assert (settings.home_dir, settings.store_url, settings.who) == (tmp_path, "s3://bucket/store", "ada")
    assert "very-secret" not in repr(settings)


def test_a_process_that_stands_elsewhere_works_for_the_checkout_it_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("NIGHTREEL_HOME", raising=False)
    main = tmp_path / "main"
    main.mkdir()
    git("init", "-q", at=main)
    git("commit", "-q", "--allow-empty", "-m", "Start", at=main)
    monkeypatch.chdir(tmp_path)
    assert settings_at(main).home_dir == main / ".nightreel"
    monkeypatch.setenv("NIGHTREEL_HOME", str(tmp_path / "other"))
    assert settings_at(main).home_dir == settings_at(None).home_dir == tmp_path / "other"
