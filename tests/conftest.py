"""Fixtures that several rooms' tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.infra.servers import S3Server, seaweed

# it holds tests that modules subclass, and is no test module by its name
pytest.register_assert_rewrite("tests.models.sequence_models")

# a busy machine must not turn a property into a failure, and a failure must come again
settings.register_profile("nightreel", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("nightreel")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, started when the first test asks for it."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A test that asks for this runs twice: on an empty folder, and on a real S3 server that `Settings()` leads to."""
    if request.param == "folder":
        return str(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.new_prefix()
