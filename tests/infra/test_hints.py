"""MLflow's webhooks: taken when they are MLflow's, fresh and new; each other one is refused and starts nothing."""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.webhooks.delivery import _generate_hmac_signature

from infra.errors import Refused
from infra.hints import FRESH_SECONDS, ID, SIGNATURE, TIMESTAMP, Deliveries, signature
from infra.registry import Registry
from infra.settings import Settings
from infra.stack import hints, mlflow_server, prefect_server
from infra.stack.credentials import USER
from infra.stack.layout import Stack
from infra.stack.service import asked
from tests.infra.stacks import stack_in, wait_until

SECRET = "not mlflow's"
NOW = 1_800_000_000
MOVED = {"entity": "model_version_alias", "action": "created", "data": {"name": "f", "alias": "a", "version": "1"}}


def signed(body: bytes, *, secret: str, delivery: str = "d1", at: float = NOW) -> dict[str, str]:
    moment = str(int(at))
    return {ID: delivery, TIMESTAMP: moment, SIGNATURE: signature(secret, delivery, moment, body)}


@given(st.text(max_size=200))
def test_the_signature_is_mlflows(body: str) -> None:
    assert signature(SECRET, "d1", "17", body.encode()) == _generate_hmac_signature(SECRET, "d1", "17", body)


@given(st.binary(max_size=60), st.sampled_from([ID, TIMESTAMP, SIGNATURE, "body", "secret"]), st.text(max_size=60))
def test_nothing_of_it_can_be_changed(body: bytes, part: str, other: str) -> None:
    headers, sent, secret = signed(body, secret=SECRET), body, SECRET
    if part == "body":
        sent = other.encode()
    elif part == "secret":
        secret = other
    else:
        headers |= {part: other}
    if (headers, sent, secret) != (signed(body, secret=SECRET), body, SECRET):
        with pytest.raises(Refused, match="is not signed with the secret"):
            Deliveries(secret).check(headers, sent, now=NOW)


@pytest.mark.parametrize("age", [-FRESH_SECONDS - 1, FRESH_SECONDS + 1])
def test_a_stale_one_is_refused(age: int) -> None:
    with pytest.raises(Refused, match="must be at most 300 s old"):
        Deliveries(SECRET).check(signed(b"{}", secret=SECRET, at=NOW - age), b"{}", now=NOW)


def test_one_is_taken_once_and_forgotten_when_its_copy_is_stale() -> None:
    deliveries, headers = Deliveries(SECRET), signed(b"{}", secret=SECRET)
    deliveries.take(deliveries.check(headers, b"{}", now=NOW), now=NOW)
    with pytest.raises(Refused, match="was taken before"):
        deliveries.check(headers, b"{}", now=NOW + FRESH_SECONDS)
    deliveries.take("d2", now=NOW + 3 * FRESH_SECONDS)
    assert list(deliveries.seen) == ["d2"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack_in(tmp_path_factory.mktemp("home")) as stack:
        yield stack


@pytest.fixture(scope="module")
def passes(stack: Stack) -> Callable[[], int]:
    """How often the reconciler was asked to run; nobody runs it, since its deployment has no work pool."""
    api, auth = prefect_server.api(stack), prefect_server.auth(stack)

    def ask(path: str, content: object) -> Any:
        said = asked(f"{api}/{path}", auth, content)
        assert said is not None
        return json.loads(said)

    flow = ask("flows/", {"name": "reconcile"})["id"]
    ask("deployments/", {"name": "by-hand", "flow_id": flow})
    return lambda: int(ask("flow_runs/count", {"flows": {"id": {"any_": [flow]}}}))


def post(stack: Stack, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer to a webhook."""
    request = urllib.request.Request(f"{stack.url('hints')}/", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_what_is_forged_stale_or_copied_is_refused_and_starts_nothing(stack: Stack, passes: Callable[[], int]) -> None:
    body, now = json.dumps(MOVED).encode(), time.time()
    before = passes()
    assert post(stack, body, {}) == 401
    assert post(stack, body, signed(body, secret=SECRET, at=now)) == 401
    assert post(stack, body, signed(body, secret=hints.secret(stack), at=now - 400)) == 401
    assert post(stack, body + b" ", signed(body, secret=hints.secret(stack), at=now)) == 401
    assert post(stack, b" " * (hints.LARGEST + 1), {}) == 413
    assert passes() == before
    sound = signed(body, secret=hints.secret(stack), delivery=str(uuid.uuid4()), at=now)
    assert post(stack, body, sound) == 202
    assert passes() == before + 1
    assert post(stack, body, sound) == 401
    assert passes() == before + 1


def test_only_what_a_person_may_have_done_is_news(stack: Stack, passes: Callable[[], int]) -> None:
    before = passes()
    for value in ("passed", "waiting", "released", None):
        said = {"entity": "model_version_tag", "action": "set", "data": {"key": "nightreel.approval", "value": value}}
        body = json.dumps(said).encode()
        headers = signed(body, secret=hints.secret(stack), delivery=str(uuid.uuid4()), at=time.time())
        assert post(stack, body, headers) == 202
    assert passes() == before


def test_mlflow_tells_of_an_alias_and_of_an_approval(stack: Stack, passes: Callable[[], int]) -> None:
    registry = Registry(Settings(home=stack.folder.parent), "clips")
    run = registry.run("night", title="night", tags={})
    version = registry.create_version("night", source=f"runs:/{run}/m", run=run, tags={})
    for change in (
        lambda: registry.set_alias("champion", version),
        lambda: registry.tag_version(version, {"nightreel.approval": "approved: looked at it"}),
    ):
        time.sleep(hints.SETTLE_SECONDS)  # what comes sooner is part of the pass before
        before = passes()
        change()
        wait_until(lambda: passes() == before + 1)  # noqa: B023


def test_whoever_starts_again_subscribes_once(stack: Stack) -> None:
    hints.subscribe(stack)
    auth = f"{USER}:{stack.credentials.mlflow}"
    said = asked(f"{stack.url(mlflow_server.NAME)}/api/2.0/mlflow/webhooks?max_results=100", auth)
    assert said is not None
    assert [each["name"] for each in json.loads(said)["webhooks"]] == [hints.WEBHOOK]


def test_artifacts_stay_in_their_folder(stack: Stack) -> None:
    auth = f"{USER}:{stack.credentials.mlflow}"
    door = f"{stack.url(mlflow_server.NAME)}/api/2.0/mlflow-artifacts/artifacts"
    for path in ("../store/ledgers", "..%2fstore%2fledgers", "%2e%2e/store", "a/../../store/x", "%252e%252e/store"):
        assert asked(f"{door}/{path}", auth) is None
        assert asked(f"{door}?path={path}", auth) is None


def test_an_older_stack_gets_a_port_for_hints(tmp_path: Path) -> None:
    stack = Stack.of(Settings(home=tmp_path))
    file = stack.folder / "stack.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    del said["ports"]["hints"]
    file.write_text(json.dumps(said), encoding="utf-8")
    assert Stack.at(stack.folder).ports == stack.ports
