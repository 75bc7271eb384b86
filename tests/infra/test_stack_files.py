"""What a stack writes before any of its servers runs."""

import configparser
import socket
import stat
from dataclasses import fields
from pathlib import Path

import pytest

from infra.errors import BadInput, Unreachable
from infra.settings import Settings
from infra.stack import addresses, supervisor
from infra.stack.credentials import Credentials
from infra.stack.launch import environment_of
from infra.stack.layout import HOST, PORTS, Stack, free_block, made_in, taken
from infra.stack.service import Service
from infra.stack.services import services_in


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack.of(Settings(home=tmp_path))


def test_ports_and_credentials_are_made_once_and_private(stack: Stack, tmp_path: Path) -> None:
    again = Stack.of(Settings(home=tmp_path))
    assert (again.ports, again.credentials) == (stack.ports, stack.credentials)
    assert stat.S_IMODE((tmp_path / "stack/stack.json").stat().st_mode) == 0o600
    assert list(stack.ports) == list(PORTS)


def test_every_secret_is_another_one_and_hidden() -> None:
    made = Credentials.generate()
    values = {getattr(made, each.name) for each in fields(made)}
    assert {len(value) for value in values} == {48}
    assert len(values) == len(fields(made))
    assert not any(value in repr(made) for value in values)


def test_ports_are_in_a_row_and_a_taken_one_is_found() -> None:
    block = free_block()
    first = block["supervisor"]
    assert list(block.values()) == list(range(first, first + len(PORTS)))
    assert taken(block) == []
    with socket.socket() as other:
        other.bind((HOST, block["mlflow"]))
        other.listen()
        assert taken(block) == [f"{block['mlflow']} (mlflow)"]


def test_a_stack_is_there_once_it_was_up(stack: Stack, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert made_in(settings) is None
    addresses.write(stack.folder, addresses.of(stack))
    assert made_in(settings) == stack
    assert stat.S_IMODE((stack.folder / "addresses.json").stat().st_mode) == 0o600


def test_settings_follow_the_stack(stack: Stack, tmp_path: Path) -> None:
    addresses.write(stack.folder, addresses.of(stack))
    settings = Settings(home=tmp_path)
    assert (settings.store_url, settings.remote) == ("s3://nightreel/store", "s3://nightreel/dvc")
    assert settings.mlflow_uri == f"http://127.0.0.1:{stack.ports['mlflow']}"
    assert settings.prefect_api_url == f"http://127.0.0.1:{stack.ports['prefect']}/api"
    assert settings.s3_secret_key is not None
    assert settings.s3_secret_key.get_secret_value() == stack.credentials.s3_secret_key
    assert not any(getattr(stack.credentials, each.name) in repr(settings) for each in fields(stack.credentials)[2:])


S3, MLFLOW, PREFECT = {"s3_secret_key", "remote"}, {"mlflow_tracking_password"}, {"prefect_api_auth_string"}


@pytest.mark.parametrize(
    ("variable", "value", "kept"),
    [
        ("NIGHTREEL_STORE", "elsewhere", MLFLOW | PREFECT),
        ("NIGHTREEL_S3_ENDPOINT", "https://s3.test", MLFLOW | PREFECT),
        ("NIGHTREEL_MLFLOW_URI", "https://mlflow.test", S3 | PREFECT),
        ("PREFECT_API_URL", "https://prefect.test/api", S3 | MLFLOW),
    ],
)
def test_no_service_of_the_environment_is_shown_the_stacks_credentials(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, kept: set[str]
) -> None:
    addresses.write(stack.folder, addresses.of(stack))
    monkeypatch.setenv(variable, value)
    settings = Settings(home=tmp_path)
    assert {name for name in S3 | MLFLOW | PREFECT if getattr(settings, name) is not None} == kept
    assert value in settings.model_dump().values()


def test_what_a_client_of_the_stack_left_in_the_environment_changes_nothing(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses.write(stack.folder, addresses.of(stack))
    before = Settings(home=tmp_path)
    assert before.mlflow_tracking_username is not None
    assert before.mlflow_tracking_password is not None
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", before.mlflow_tracking_username)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", before.mlflow_tracking_password.get_secret_value())
    assert Settings(home=tmp_path) == before
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    assert Settings(home=tmp_path).mlflow_uri is None


def test_addresses_that_cannot_be_read_are_one_sentence_without_them(stack: Stack, tmp_path: Path) -> None:
    (stack.folder / "addresses.json").write_text('{"s3_secret_keys": "very-secret"}')
    with pytest.raises(BadInput, match=r"addresses.json cannot be read\. `nightreel up` writes them\.$") as told:
        Settings(home=tmp_path)
    assert "very-secret" not in str(told.value)


def test_supervisor_is_told_no_secret_of_a_service(stack: Stack) -> None:
    addresses.write(stack.folder, addresses.of(stack))
    text = supervisor.configuration(stack, services_in(stack.folder))
    read = configparser.RawConfigParser()
    read.read_string(text)
    assert read["inet_http_server"]["port"] == f"127.0.0.1:{stack.ports['supervisor']}"
    assert read["program:postgres"]["stopsignal"] == "INT"
    assert read["program:worker"]["command"].endswith(" -m infra.stack.launch worker")
    names = [each.name for each in fields(stack.credentials) if each.name != "supervisor"]
    assert not [name for name in names if getattr(stack.credentials, name) in text]


def test_servers_get_what_they_need_and_the_worker_all() -> None:
    here = {"PATH": "/bin", "AWS_PROFILE": "person", "PREFECT_API_URL": "https://prefect.test"}
    server = Service("server", "here", ["true"], lambda: True, {"OWN": "1"})
    worker = Service("worker", "here", ["true"], lambda: True, {"OWN": "1"}, inherits=True)
    assert environment_of(server, here) == {"PATH": "/bin", "OWN": "1"}
    assert environment_of(worker, here) == here | {"OWN": "1"}


def test_external_services_are_asked_before_they_are_kept(tmp_path: Path) -> None:
    missing = Settings(home=tmp_path, store=str(tmp_path / "store"))
    with pytest.raises(BadInput, match=r"Missing: NIGHTREEL_MLFLOW_URI, PREFECT_API_URL$"):
        addresses.external(missing)
    dead = f"http://{HOST}:{free_block()['mlflow']}"
    named = missing.model_copy(update={"mlflow_uri": dead, "prefect_api_url": f"{dead}/api"})
    with pytest.raises(Unreachable, match=rf"MLflow at {dead} did not answer"):
        addresses.external(named)


def test_with_external_services_the_worker_alone_runs(stack: Stack) -> None:
    where = addresses.of(stack).model_copy(update={"external": True})
    addresses.write(stack.folder, where)
    assert addresses.read(stack.folder) == where
    (worker,) = services_in(stack.folder)
    assert (worker.name, worker.after, worker.environment["NIGHTREEL_HOME"]) == ("worker", (), str(stack.folder.parent))
