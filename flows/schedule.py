"""What runs by the clock: Prefect deployments in a process work pool, and the worker that runs what is due."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL, temporary_settings

import infra
from flows.automations import make_automations
from flows.leased import books_of
from flows.outcome import Request
from flows.pools import offer_steps
from infra.errors import BadInput, Unreachable
from infra.settings import Settings
from infra.stack.worker import GPU, POOL

DEPLOYMENTS = Path(infra.__path__[0]) / "prefect.yaml"
BRACES = re.compile(r"\{\{ (\w+) \}\}")
START_SECONDS = 120
AnyFlow = Flow[Any, Any]


def make_schedule(cron: str, request: Request, *, pool: str, events: str | None = None) -> dict[str, Any]:
    """Make or change all deployments of `infra/prefect.yaml` for one source; the name and time of each.

    Args:
        cron: when the nights are; the others' times are in the file.
        request: what a night is asked for.
        pool: the work pool of all of them.
        events: where S3's event notifications are, None to list the source instead.

    Raises:
        BadInput: `cron` has not five fields that make sense.
    """
    request = request.model_copy(update={"scheduled": True})
    known: dict[str, Any] = {
        "source": request.source,
        "path": request.path,
        "overrides": list(request.overrides),
        "root": request.root,
        "name": books_of(request).name,
        "events": events,
    }
    known |= {"cron": cron, "pool": pool, "request": request.model_dump(mode="json")}
    described = _filled(yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8")), known)["deployments"]
    deployments = [_deployment(request.root, one) for one in described]
    asyncio.run(_make_pool(pool))
    for deployment in deployments:
        deployment.apply(work_pool_name=pool)
    times = {made.full_name: one["schedules"][0]["cron"] for made, one in zip(deployments, described, strict=True)}
    if automations := asyncio.run(make_automations(Settings())):
        times["automations"] = ", ".join(automations)
    then = "run `nightreel worker`" if pool == POOL else f"run `nightreel worker --pool {pool}`"
    return times | {"work pool": pool, "root": request.root, "next": then}


def _deployment(root: str, described: dict[str, Any]) -> RunnerDeployment:
    """A deployment by its entry in `infra/prefect.yaml`. Raises `BadInput` when its cron makes no sense."""
    its = cast(AnyFlow, Flow.from_source(source=root, entrypoint=described["entrypoint"]))
    (when,), limit = described["schedules"], described["concurrency_limit"]
    try:
        schedules = [Cron(when["cron"], timezone=when["timezone"])]
        made = its.to_deployment(
            name=described["name"],
            description=described["description"],
            schedules=schedules,
            parameters=described["parameters"],
            concurrency_limit=limit if isinstance(limit, int) else ConcurrencyLimitConfig.model_validate(limit),
        )
    except ValueError:
        raise BadInput(f"--cron takes five fields, such as '0 2 * * *'. Received: {when['cron']!r}") from None
    return cast(RunnerDeployment, made)


def _filled(described: Any, known: Mapping[str, Any]) -> Any:
    """`described` with what stands in double braces replaced: a text that is nothing else by the thing itself."""
    if isinstance(described, dict):
        return {name: _filled(value, known) for name, value in described.items()}
    if isinstance(described, list):
        return [_filled(value, known) for value in described]
    if not isinstance(described, str):
        return described
    if whole := BRACES.fullmatch(described):
        return known[whole[1]]
    return BRACES.sub(lambda found: str(known[found[1]]), described)


def run_worker(pool: str, *, healthcheck: bool) -> None:
    """Run what is due in `pool` until interrupted, in the pool `gpu` steps of nights too.

    With no Prefect server set, one is started on loopback and stopped again.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service that is stopped ends as by Ctrl-C
    # Prefect's worker answers an interrupt with the trace of whatever it was waiting for
    with suppress(KeyboardInterrupt, asyncio.CancelledError), _server():
        if pool == GPU:
            asyncio.run(_make_pool(pool))
            os.environ["NIGHTREEL_HOME"] = str(Settings().home_dir)  # steps start outside of any checkout
            offer_steps()
        asyncio.run(_work(pool, healthcheck))


async def _make_pool(pool: str) -> None:
    async with get_client() as client:
        try:
            await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        except ObjectAlreadyExists:
            return


async def _work(pool: str, healthcheck: bool) -> None:
    from prefect.workers.process import ProcessWorker

    # two networks would fight over one GPU
    async with ProcessWorker(work_pool_name=pool, limit=1 if pool == GPU else None) as worker:
        await worker.start(with_healthcheck=healthcheck)


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
