"""The six services on one machine: who they answer, where they listen, and what a kill costs."""

import json
import os
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from infra import s3
from infra.registry import Registry
from infra.settings import Settings
from infra.stack import mlflow_server, prefect_server, seaweedfs, supervisor
from infra.stack.credentials import USER
from infra.stack.layout import HOST, Stack
from infra.stack.service import asked
from infra.stack.services import services_in
from tests.infra.stacks import bring_up, pid_of, stack_in, take_down, wait_until, watching

NAMES = ("postgres", "seaweedfs", "mlflow", "prefect", "hints", "worker")
READY_SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_in(tmp_path_factory.mktemp("home")) as stack:
        yield stack


def home(stack: Stack) -> Settings:
    return Settings(home=stack.folder.parent)


def test_all_are_ready_and_say_where(stack: Stack) -> None:
    rows = supervisor.status(stack, services_in(stack.folder))
    assert [(row["service"], row["state"]) for row in rows] == [(name, "ready") for name in NAMES]
    assert rows[0]["where"] == f"postgresql://{USER}@127.0.0.1:{stack.ports['postgres']}"
    urls = [stack.url(door) for door in ("s3.port", "mlflow", "prefect", "hints")]
    assert [row["where"] for row in rows[1:]] == [*urls, "work pool nightreel"]


def test_every_door_is_on_loopback(stack: Stack) -> None:
    family = [watching(stack), *watching(stack).children(recursive=True)]
    doors = [door.laddr for process in family for door in process.net_connections("inet") if door.status == "LISTEN"]
    assert {door.ip for door in doors} == {HOST}
    asking = ("supervisor", "postgres", "s3.port", "mlflow", "prefect")
    assert {door.port for door in doors} >= {stack.ports[name] for name in asking}


def refused(url: str, content: object = None) -> int:
    """The status of an answer to somebody without credentials."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(request, timeout=10)
    told.value.close()
    return told.value.code


def test_nobody_without_credentials_is_answered(stack: Stack) -> None:
    assert refused(f"{stack.url('mlflow')}/{mlflow_server.SEARCH}?max_results=1") == 401
    assert refused(f"{prefect_server.api(stack)}/flows/count", content={}) == 401
    assert refused(f"{stack.url('s3.port')}/nightreel/ready") == 403
    assert refused(f"{stack.url('supervisor')}/RPC2", content={}) == 401
    assert refused(f"{stack.url('volume.port')}/1,01637037d6") == 401
    assert [refused(f"{stack.url(door)}/dir/assign") for door in ("master.port", "filer.port")] == [404, 404]


@pytest.mark.parametrize("password", ["", "wrong"])
def test_nobody_with_a_wrong_password_is_answered(stack: Stack, password: str) -> None:
    import psycopg

    auth = f"{USER}:{password}"
    assert asked(f"{stack.url('mlflow')}/{mlflow_server.SEARCH}?max_results=1", auth) is None
    assert asked(f"{prefect_server.api(stack)}/flows/count", auth, content={}) is None
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=HOST, port=stack.ports["postgres"], user=USER, password=password, dbname="prefect")
    stranger = home(stack).model_copy(update={"s3_secret_key": seaweedfs.settings_of(stack).s3_access_key})
    with pytest.raises(ClientError) as told:
        s3.client(stranger).get_object(Bucket=seaweedfs.BUCKET, Key="ready")
    assert s3.status(told.value) == 403


def test_settings_lead_to_the_stack_and_its_doors_open(stack: Stack) -> None:
    settings = home(stack)
    assert (settings.store_url, settings.remote) == ("s3://nightreel/store", "s3://nightreel/dvc")
    s3.client(settings).put_object(Bucket="nightreel", Key="hello", Body=b"there")
    assert Registry(settings, "opened").experiment
    auth = settings.prefect_api_auth_string
    assert auth
    assert asked(f"{settings.prefect_api_url}/flows/count", auth.get_secret_value(), content={}) == b"0"


def test_secrets_are_in_private_files_and_nowhere_else(stack: Stack) -> None:
    secrets = [value.encode() for value in asdict(stack.credentials).values()]
    family = [watching(stack), *watching(stack).children(recursive=True)]
    assert not [line for process in family for line in process.cmdline() if line.encode() in secrets]
    own = [path for path in stack.folder.glob("*") if path.is_file()] + list(stack.folder.glob("*/*.*"))
    holding = [path for path in own if path.is_file() and any(secret in path.read_bytes() for secret in secrets)]
    assert {path.name for path in holding} >= {"stack.json", "addresses.json", "pgpass", "supervisor.conf", "s3.json"}
    assert [path for path in holding if stat.S_IMODE(path.stat().st_mode) != 0o600] == []
    assert not [path for path in holding if path.parent.name == "log"]
    assert not any(secret.decode() in repr(stack) for secret in secrets)


def test_whoever_starts_twice_finds_it(stack: Stack) -> None:
    with supervisor.held(stack) as running:
        assert running == watching(stack)
        before = [pid_of(stack, name) for name in NAMES]
        supervisor.start_services(stack, services_in(stack.folder), told=lambda _: None)
        assert [pid_of(stack, name) for name in NAMES] == before


def write_everywhere(stack: Stack, word: str) -> None:
    """Leave `word` in each service that keeps something."""
    settings = home(stack)
    s3.client(settings).put_object(Bucket="nightreel", Key=word, Body=word.encode())
    Registry(settings, "killed").run(word, title=word, tags={})
    pool = {"name": word, "type": "process"}
    assert asked(f"{prefect_server.api(stack)}/work_pools/filter", prefect_server.auth(stack), content={})
    _post(stack, "work_pools/", pool)


def _post(stack: Stack, path: str, content: Any) -> None:
    from base64 import b64encode

    auth = {"Authorization": f"Basic {b64encode(prefect_server.auth(stack).encode()).decode()}"}
    body = json.dumps(content).encode()
    url = f"{prefect_server.api(stack)}/{path}"
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json", **auth})
    urllib.request.urlopen(request, timeout=10).close()


def is_everywhere(stack: Stack, word: str) -> bool:
    """Whether `word` is still in each of them."""
    settings = home(stack)
    kept = s3.client(settings).get_object(Bucket="nightreel", Key=word)["Body"].read() == word.encode()
    registry = Registry(settings, "killed")
    with registry._asked() as client:
        runs = client.search_runs([registry.experiment], filter_string=f"tags.`nightreel.key` = '{word}'")
    pool = asked(f"{prefect_server.api(stack)}/work_pools/{word}", prefect_server.auth(stack))
    return kept and len(runs) == 1 and pool is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_service_is_back_with_all_it_kept(stack: Stack, name: str) -> None:
    write_everywhere(stack, f"before-{name}")
    killed = pid_of(stack, name)
    assert killed
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: pid_of(stack, name) not in (None, killed))
    wait_until(lambda: all(supervisor.is_ready(stack, each) for each in services_in(stack.folder)))
    assert is_everywhere(stack, f"before-{name}")
    write_everywhere(stack, f"after-{name}")


@pytest.mark.slow
def test_down_leaves_no_process_and_up_finds_all(stack: Stack) -> None:
    write_everywhere(stack, "down")
    family = take_down(stack)
    assert [process for process in family if process.is_running()] == []
    assert supervisor.supervisor_of(stack) is None
    assert {row["state"] for row in supervisor.status(stack, services_in(stack.folder))} == {"down"}
    assert bring_up(stack) < READY_SECONDS
    assert is_everywhere(stack, "down")


def test_all_end_with_a_killed_supervisor_and_come_up_again(stack: Stack) -> None:
    write_everywhere(stack, "crash")
    process = watching(stack)
    family = process.children(recursive=True)
    assert len(family) >= len(NAMES)
    process.kill()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    bring_up(stack)
    assert is_everywhere(stack, "crash")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    import socket

    from infra.errors import BadInput

    stack = Stack.of(Settings(home=tmp_path))
    with socket.socket() as other:
        other.bind((HOST, stack.ports["mlflow"]))
        other.listen()
        with pytest.raises(BadInput, match=rf"{stack.ports['mlflow']} \(mlflow\)"):
            supervisor.start(stack, [], quiet=True)
