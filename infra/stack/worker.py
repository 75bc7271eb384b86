"""The workers of Nightreel's work pools: one runs what is due, the other trains where there is a GPU."""

import json
from pathlib import Path

from infra.stack.service import PYTHON, Service, asked

POOL, GPU = "nightreel", "gpu"
NAMES = {POOL: "worker", GPU: "worker-gpu"}
CARDS = Path("/dev/nvidiactl")  # made by NVIDIA's driver


def services(home: Path, api: str, auth: str | None, *, after: tuple[str, ...] = ()) -> list[Service]:
    """A worker for each pool of the Prefect server at `api`; what they run keeps its state under `home`."""
    return [_service(pool, home, api, auth, after) for pool in ((POOL, GPU) if CARDS.exists() else (POOL,))]


def _service(pool: str, home: Path, api: str, auth: str | None, after: tuple[str, ...]) -> Service:
    asks = {"PREFECT_API_AUTH_STRING": auth} if auth else {}
    return Service(
        NAMES[pool],
        where=f"work pool {pool}",
        command=[*PYTHON, "-c", "from flows.cli import main; main()", "worker", "--pool", pool],
        environment={"NIGHTREEL_HOME": str(home), "PREFECT_API_URL": api, "PYTHONUNBUFFERED": "1", **asks},
        inherits=True,  # nights on S3 elsewhere, on a proxy, on a GPU are told so by the environment
        after=after,
        ready=lambda: _polls(pool, api, auth),
    )


def _polls(pool: str, api: str, auth: str | None) -> bool:
    """Whether Prefect has heard of a worker of the pool lately."""
    said = asked(f"{api}/work_pools/{pool}", auth)
    return said is not None and json.loads(said)["status"] == "READY"
