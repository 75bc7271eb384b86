"""What tests of the outside world start from."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def no_services_of_others() -> Iterator[None]:
    """The flows' tests leave what their servers ask for in the environment of their process until the session ends."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            patch.delenv(name, raising=False)
        yield
