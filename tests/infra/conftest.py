"""What tests of the outside world start from."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_prefect_server() -> Iterator[None]:
    """The flows' tests leave the address of their server in the environment of their process until the session ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        yield
