"""Nights by the clock: a Prefect deployment in a process work pool, and the worker that runs what is due."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.automations import make_automations
from flows.outcome import Request
from infra.errors import BadInput, Unreachable
from infra.settings import Settings

POOL = "nightreel"
START_SECONDS = 120
AnyFlow = Flow[Any, Any]


def make_schedule(cron: str, request: Request, *, pool: str) -> dict[str, Any]:
    """Make or change the deployment `nightly-SOURCE` in the work pool `pool`; its name, schedule and pool.

    Raises:
        BadInput: `cron` has not five fields that make sense.
    """
    asyncio.run(_make_pool(pool))
    night = cast(AnyFlow, Flow.from_source(source=request.root, entrypoint="flows/night.py:night"))
    name = f"nightly-{request.source}"
    try:
        deployment = night.to_deployment(
            name=name, cron=cron, parameters={"request": request.model_dump(mode="json")}, concurrency_limit=1
        )
    except ValueError:
        raise BadInput(f"--cron takes five fields, such as '0 2 * * *'. Received: {cron!r}") from None
    cast(RunnerDeployment, deployment).apply(work_pool_name=pool)
    made = {"deployment": f"night/{name}", "cron": cron, "work pool": pool, "root": request.root}
    if automations := asyncio.run(make_automations(Settings())):
        made["automations"] = ", ".join(automations)
    return made | {"next": "run `nightreel worker`" if pool == POOL else f"have a worker poll {pool}"}


def run_worker() -> None:
    """Run what is due until interrupted. With no Prefect server set, one is started on loopback and stopped again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service that is stopped ends as by Ctrl-C
    # Prefect's worker answers an interrupt with the trace of whatever it was waiting for
    with suppress(KeyboardInterrupt, asyncio.CancelledError), _server():
        asyncio.run(_work())


async def _make_pool(pool: str) -> None:
    async with get_client() as client:
        try:
            await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        except ObjectAlreadyExists:
            return


async def _work() -> None:
    from prefect.workers.process import ProcessWorker

    async with ProcessWorker(work_pool_name=POOL) as worker:
        await worker.start()


@contextmanager
def _server() -> Iterator[None]:
    if PREFECT_API_URL.value():
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(f"{url}/health")
        with temporary_settings({PREFECT_API_URL: url}):  # the environment was read when Prefect was imported
            yield
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise Unreachable(f"Prefect's server did not answer at {url} within {START_SECONDS} s")
