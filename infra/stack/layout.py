"""One folder with all that a stack is: data, logs, ports and credentials."""

import json
import os
import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.disk import arriving, disk_errors, make_folder
from infra.errors import BadInput
from infra.secret_file import make_secret
from infra.settings import ADDRESSES, STACK, Settings
from infra.stack.credentials import Credentials

WEED_PORTS = tuple(f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc"))
PORTS = ("supervisor", "postgres", "mlflow", "prefect", *WEED_PORTS, "hints")
# below what systems give to outgoing connections, which could take a port while its service restarts
FIRST_PORT, LAST_PORT = 20_000, 32_000
HOST = "127.0.0.1"


@dataclass(frozen=True, repr=False)
class Stack:
    """A stack's folder, the port of each door and what it asks for."""

    folder: Path
    ports: Mapping[str, int]
    credentials: Credentials

    @classmethod
    def of(cls, settings: Settings) -> "Stack":
        """The stack under `settings.home_dir`, made on first use.

        Raises:
            BadInput: its folder cannot be made or read.
        """
        folder = settings.home_dir / STACK
        if not (folder / "stack.json").exists():
            made = {"ports": free_block(), "credentials": asdict(Credentials.generate())}
            make_secret(folder / "stack.json", json.dumps(made).encode())
        return cls.at(folder)

    @classmethod
    def at(cls, folder: Path) -> "Stack":
        """The stack in `folder`, made before. Raises `BadInput` when its file cannot be read."""
        with disk_errors(folder):
            said = json.loads((folder / "stack.json").read_text(encoding="utf-8"))
        ports = said["ports"]
        ports.setdefault("hints", max(ports.values()) + 1)  # a stack that was made before there were hints
        return cls(folder, ports, Credentials(**said["credentials"]))

    def url(self, door: str) -> str:
        """Where `door` answers HTTP."""
        return f"http://{HOST}:{self.ports[door]}"

    def data(self, service: str) -> Path:
        """Where a service keeps its data."""
        return self.folder / service

    def log(self, service: str) -> Path:
        """What a service says."""
        return self.folder / "log" / f"{service}.log"


def made_in(settings: Settings) -> Stack | None:
    """The stack under `settings.home_dir` if `nightreel up` ever ran there."""
    folder = settings.home_dir / STACK
    return Stack.at(folder) if (folder / ADDRESSES).exists() else None


def write_private(path: Path, content: str) -> None:
    """Put `content` into `path`, readable by its owner alone, whole or not at all."""
    with disk_errors(path):
        make_folder(path.parent)
        with arriving(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content.encode())


def free_block() -> dict[str, int]:
    """A port for each of `PORTS`, next to each other and all free now. Raises `BadInput` when there are none."""
    starts = list(range(FIRST_PORT, LAST_PORT, len(PORTS)))
    random.shuffle(starts)
    for start in starts:
        block = dict(zip(PORTS, range(start, start + len(PORTS)), strict=True))
        if not taken(block):
            return block
    raise BadInput(f"No {len(PORTS)} ports in a row are free between {FIRST_PORT} and {LAST_PORT}.")


def taken(ports: Mapping[str, int]) -> list[str]:
    """Those of `ports` that another process listens on."""
    with ExitStack() as held:
        found = []
        for name, port in ports.items():
            door = held.enter_context(socket.socket())
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that a dead connection lingers on is free
            try:
                door.bind((HOST, port))
            except OSError:
                found.append(f"{port} ({name})")
        return found
