"""A stack's processes under Supervisor (supervisord.org), which restarts what ends and rotates logs."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy

import psutil

import infra
from infra.disk import make_folder
from infra.errors import BadInput, Unreachable
from infra.locks import locked
from infra.stack.credentials import USER
from infra.stack.layout import HOST, Stack, taken, write_private
from infra.stack.service import PYTHON, Service

START_SECONDS, STOP_SECONDS, FREE_SECONDS = 120, 120, 15
PAUSE = 0.2
AT_WORK = ("STARTING", "RUNNING", "BACKOFF", "STOPPING")
PROGRAM = """
[program:{name}]
command={command}
directory=%(here)s
autostart=false
autorestart=true
startretries=1000000
stopsignal={stop_signal}
stopwaitsecs=45
killasgroup=true
redirect_stderr=true
stdout_logfile=%(here)s/log/{name}.log
priority={priority}
"""
SUPERVISOR = """[supervisord]
nodaemon=true
logfile=%(here)s/log/supervisor.log
pidfile=%(here)s/supervisor.pid
[inet_http_server]
port={host}:{port}
username={user}
password={password}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""


@contextmanager
def held(stack: Stack) -> Iterator[psutil.Process | None]:
    """Keep others from starting or stopping the stack; its supervisor, if it is at work."""
    with locked(stack.folder / "lock"):
        yield supervisor_of(stack)


def supervisor_of(stack: Stack) -> psutil.Process | None:
    """The process that watches the stack, if there is one."""
    try:
        process = psutil.Process(int((stack.folder / "supervisor.pid").read_text(encoding="utf-8")))
        alive = process.status() != psutil.STATUS_ZOMBIE and str(_configuration(stack)) in process.cmdline()
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
    return process if alive else None


def start(stack: Stack, services: Sequence[Service], *, quiet: bool) -> "subprocess.Popen[bytes]":
    """Start the supervisor, which starts nothing yet. Call while the stack is `held`.

    Args:
        stack: whose supervisor.
        services: what it will run.
        quiet: in the background; else it tells on standard output what starts and ends, and ends by Ctrl-C.

    Raises:
        BadInput: another program listens on the stack's ports.
        Unreachable: the supervisor does not start.
    """
    if busy := _taken(stack):
        raise BadInput(
            f"Other programs listen on ports of the stack: {', '.join(busy)}. End them, or free the stack of its ports "
            f"by other ones in {stack.folder / 'stack.json'}."
        )
    make_folder(stack.folder / "log")
    write_private(_configuration(stack), configuration(stack, services))
    process = subprocess.Popen(
        [*PYTHON, "-m", "supervisor.supervisord", "-c", str(_configuration(stack))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
        cwd=stack.folder,
        umask=0o077,
        start_new_session=quiet,
        env=_environment(),
    )
    _wait(lambda: _states(stack) is not None, f"The supervisor did not start: see {stack.log('supervisor')}")
    return process


def configuration(stack: Stack, services: Sequence[Service]) -> str:
    """What Supervisor reads. Commands and secrets of the services are not in it: `launch` knows them."""
    launch = shlex.join([*PYTHON, "-m", "infra.stack.launch"]).replace("%", "%%")
    door = {"host": HOST, "port": stack.ports["supervisor"], "user": USER, "password": stack.credentials.supervisor}
    programs = (
        PROGRAM.format(name=each.name, command=f"{launch} {each.name}", stop_signal=each.stop_signal, priority=order)
        for order, each in enumerate(services, start=1)
    )
    return SUPERVISOR.format(**door) + "".join(programs)


def start_services(stack: Stack, services: Sequence[Service], *, told: Callable[[Service], None]) -> None:
    """Start each service as soon as those that it needs are ready, and wait for all; `told` of each that is.

    Raises:
        Unreachable: one of them does not become ready in time.
    """
    waiting, ready = list(services), set[str]()
    started = {name for name, state in (_states(stack) or {}).items() if state["statename"] in AT_WORK}
    deadline = time.monotonic() + START_SECONDS
    while waiting:
        for service in waiting:
            if service.name not in started and ready.issuperset(service.after):
                service.prepare()
                _ask(stack, "startProcess", service.name, False)
                started.add(service.name)
        for service in [each for each in waiting if each.name in started and is_ready(stack, each)]:
            waiting.remove(service)
            ready.add(service.name)
            told(service)
        if time.monotonic() > deadline:
            late = ", ".join(f"{each.name} ({stack.log(each.name)})" for each in waiting)
            raise Unreachable(f"Not ready within {START_SECONDS} s, see their logs: {late}")
        time.sleep(PAUSE)


def is_ready(stack: Stack, service: Service) -> bool:
    """Whether the service's process is there and answers."""
    states = _states(stack) or {}
    return bool(states.get(service.name, {}).get("pid")) and service.ready()


def status(stack: Stack, services: Sequence[Service]) -> list[dict[str, Any]]:
    """One row a service: where it is, its process, since when (UTC, ISO), and whether it answers."""
    states = _states(stack) or {}
    return [_row(service, states.get(service.name, {})) for service in services]


def stop(stack: Stack, process: psutil.Process) -> None:
    """Stop all services, the newest first, then the supervisor, and wait for the last.

    Raises:
        Unreachable: something does not end.
    """
    children = process.children(recursive=True)
    process.terminate()  # Supervisor stops each service by its own signal and waits for it
    _, alive = psutil.wait_procs([process, *children], timeout=STOP_SECONDS)
    if alive:
        raise Unreachable(f"Not ended within {STOP_SECONDS} s: {', '.join(str(each.pid) for each in alive)}")


def watch(supervisor: "subprocess.Popen[bytes]") -> None:
    """Wait until the supervisor ends; Ctrl-C reaches it too."""
    while supervisor.poll() is None:
        with suppress(KeyboardInterrupt):
            supervisor.wait()


def _row(service: Service, state: dict[str, Any]) -> dict[str, Any]:
    pid = state.get("pid") or None
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state["start"])) if pid else None
    word = "down" if pid is None else "ready" if service.ready() else "starting"
    return {"service": service.name, "state": word, "where": service.where, "pid": pid, "since": since}


def _states(stack: Stack) -> dict[str, dict[str, Any]] | None:
    """What Supervisor knows of each process, by name; None when it does not answer."""
    try:
        return {each["name"]: each for each in _ask(stack, "getAllProcessInfo")}
    except (OSError, HTTPException, Error):
        return None


def _ask(stack: Stack, method: str, *words: object) -> Any:
    where = f"{USER}:{stack.credentials.supervisor}@{HOST}:{stack.ports['supervisor']}"
    with ServerProxy(f"http://{where}/RPC2") as server:
        return getattr(server.supervisor, method)(*words)


def _taken(stack: Stack) -> list[str]:
    """Ports that others hold; services of a supervisor that was killed may need a moment to end."""
    killed = (stack.folder / "supervisor.pid").exists()
    deadline = time.monotonic() + (FREE_SECONDS if killed else 0)
    while (busy := taken(stack.ports)) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return busy


def _environment() -> dict[str, str]:
    """This process's environment, in which children find this code."""
    root = str(Path(infra.__path__[0]).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}


def _configuration(stack: Stack) -> Path:
    return stack.folder / "supervisor.conf"


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise Unreachable(otherwise)
        time.sleep(PAUSE)
