"""A real stack of the six services in a folder, brought up and down without the command line."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from infra.settings import Settings
from infra.stack import addresses, prefect_server, supervisor
from infra.stack.layout import Stack
from infra.stack.service import Service, asked
from infra.stack.services import services_in

WAIT_SECONDS = 60
STARTED: list["subprocess.Popen[bytes]"] = []  # supervisors are children here, and somebody has to hear them end


@contextmanager
def stack_in(home: Path) -> Iterator[Stack]:
    """A stack under `home`, up and ready; stopped at the end, by force if nothing else helps."""
    stack = Stack.of(Settings(home=home))
    try:
        bring_up(stack)
        yield stack
    finally:
        if process := supervisor.supervisor_of(stack):
            end(process)
        while STARTED:
            STARTED.pop().wait()


def bring_up(stack: Stack) -> float:
    """Start all services and wait for them; the seconds that it took."""
    started = time.monotonic()
    with supervisor.held(stack):
        addresses.write(stack.folder, addresses.of(stack))
        services = services_in(stack.folder)
        STARTED.append(supervisor.start(stack, services, quiet=True))
        supervisor.start_services(stack, services, told=lambda _: None)
    return time.monotonic() - started


def take_down(stack: Stack) -> list[psutil.Process]:
    """Stop the stack; what ran before."""
    process = watching(stack)
    family = [process, *process.children(recursive=True)]
    supervisor.stop(stack, process)
    return family


def end(process: psutil.Process) -> None:
    """SIGKILL to the supervisor and all below it."""
    family = [*process.children(recursive=True), process]
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(family, timeout=WAIT_SECONDS)


def watching(stack: Stack) -> psutil.Process:
    """The stack's supervisor, which is at work."""
    process = supervisor.supervisor_of(stack)
    assert process is not None
    return process


def pid_of(stack: Stack, name: str) -> int | None:
    """The process of a service, None while there is none."""
    (row,) = [row for row in supervisor.status(stack, [service_of(stack, name)]) if row["service"] == name]
    return row["pid"]  # type: ignore[no-any-return]


def service_of(stack: Stack, name: str) -> Service:
    """One service of the stack."""
    return next(each for each in services_in(stack.folder) if each.name == name)


def wait_until(done: Callable[[], object], *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until `done`; fail when that takes too long."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ask_prefect(stack: Stack, path: str, content: object = None) -> Any:
    """What the stack's Prefect answers to a GET, or to a POST of `content`."""
    told = asked(f"{prefect_server.api(stack)}/{path}", prefect_server.auth(stack), content)
    assert told is not None, path
    return json.loads(told)
