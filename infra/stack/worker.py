"""The worker of Nightreel's work pool: runs what is due, each night in a process of its own."""

import json
from pathlib import Path

from infra.stack.service import PYTHON, Service, asked

NAME = "worker"
POOL = "nightreel"


def service(home: Path, api: str, auth: str | None, *, after: tuple[str, ...] = ()) -> Service:
    """The worker of the Prefect server at `api`, whose nights keep their state under `home`."""
    asks = {"PREFECT_API_AUTH_STRING": auth} if auth else {}
    return Service(
        NAME,
        where=f"work pool {POOL}",
        command=[*PYTHON, "-c", "from flows.cli import main; main()", "worker"],
        environment={"NIGHTREEL_HOME": str(home), "PREFECT_API_URL": api, "PYTHONUNBUFFERED": "1", **asks},
        inherits=True,  # nights on S3 elsewhere, on a proxy, on a GPU are told so by the environment
        after=after,
        ready=lambda: _polls(api, auth),
    )


def _polls(api: str, auth: str | None) -> bool:
    """Whether Prefect has heard of a worker of the pool lately."""
    said = asked(f"{api}/work_pools/{POOL}", auth)
    return said is not None and json.loads(said)["status"] == "READY"
