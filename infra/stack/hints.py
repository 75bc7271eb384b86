"""Takes MLflow's webhooks: each is a hint that somebody changed the registry, so that the reconciler looks sooner.

A hint carries no order: what is done follows from MLflow's state when the reconciler reads it, as it does by the clock.
"""

import asyncio
import hashlib
import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from infra.errors import Refused
from infra.hints import Deliveries
from infra.stack import mlflow_server, prefect_server
from infra.stack.credentials import USER
from infra.stack.layout import HOST, Stack
from infra.stack.service import PYTHON, Service, asked

NAME = "hints"
WEBHOOK = "nightreel-hints"
FLOW = "reconcile"
ANSWERS = ("approved", "rejected")  # what a person's tag begins with; all other tags are no news
LARGEST = 64 * 1024
SETTLE_SECONDS = 5  # hints that come together make one pass
EVENTS = (("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_ALIAS", "DELETED"), ("MODEL_VERSION_TAG", "SET"))

log = logging.getLogger(__name__)


def service(stack: Stack) -> Service:
    """What takes the webhooks of `stack`."""
    return Service(
        NAME,
        where=stack.url(NAME),
        command=[*PYTHON, "-m", "infra.stack.hints"],
        after=(mlflow_server.NAME, prefect_server.NAME),
        ready=lambda: asked(f"{stack.url(NAME)}/ready", None) is not None,
    )


def secret(stack: Stack) -> str:
    """What MLflow signs with; follows from the stack's other secrets, so that a stack of before has it too."""
    return hashlib.sha256(f"hints {stack.credentials.mlflow}".encode()).hexdigest()


def application(stack: Stack) -> Starlette:
    """Answers 202 to a hint that is taken, 401 to one that is not MLflow's, 413 to one that is too long."""
    deliveries = Deliveries(secret(stack))

    async def take(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return PlainTextResponse("too long", 413)
        try:
            delivery = deliveries.check(request.headers, body, now=time.time())
        except Refused as error:
            log.warning("%s", error)
            return PlainTextResponse(str(error), 401)
        if _is_news(body) and not await asyncio.to_thread(start_pass, stack):
            return PlainTextResponse("Prefect did not answer", 503)  # MLflow sends it again
        deliveries.take(delivery, now=time.time())
        return Response(status_code=202)

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready")

    return Starlette(routes=[Route("/", take, methods=["POST"]), Route("/ready", ready)])


def start_pass(stack: Stack) -> bool:
    """Have each deployment of the reconciler run once, soon; False when Prefect does not answer.

    The key makes one run of all hints that come within `SETTLE_SECONDS`.
    """
    api, auth = prefect_server.api(stack), prefect_server.auth(stack)
    found = asked(f"{api}/deployments/filter", auth, {"flows": {"name": {"any_": [FLOW]}}})
    window = int(time.time() // SETTLE_SECONDS) + 1
    due = datetime.fromtimestamp(window * SETTLE_SECONDS, UTC).isoformat()
    run: dict[str, Any] = {
        "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due}},
        "idempotency_key": f"hint-{window}",
    }
    chosen = [] if found is None else [each["id"] for each in json.loads(found)]
    made = [asked(f"{api}/deployments/{each}/create_flow_run", auth, run) for each in chosen]
    return found is not None and None not in made


def _is_news(body: bytes) -> bool:
    """Whether a person may have done it: the reconciler's and the nights' own tags are none."""
    try:
        said = json.loads(body)
        return said["entity"] != "model_version_tag" or str(said["data"]["value"]).startswith(ANSWERS)
    except (ValueError, KeyError, TypeError):
        return False


def subscribe(stack: Stack) -> None:
    """Have MLflow send its webhooks here. Raises `Refused` when it does not take that."""
    url, auth = f"{stack.url(mlflow_server.NAME)}/api/2.0/mlflow/webhooks", f"{USER}:{stack.credentials.mlflow}"
    said = asked(f"{url}?max_results=100", auth)
    known = [] if said is None else json.loads(said).get("webhooks", [])
    if any(each["name"] == WEBHOOK and each["url"] == f"{stack.url(NAME)}/" for each in known):
        return
    events = [{"entity": entity, "action": action} for entity, action in EVENTS]
    wanted = {"name": WEBHOOK, "url": f"{stack.url(NAME)}/", "events": events, "secret": secret(stack)}
    if said is None or asked(url, auth, wanted | {"status": "ACTIVE"}) is None:
        raise Refused(f"MLflow at {stack.url(mlflow_server.NAME)} did not take the webhook {WEBHOOK}.")


def main() -> None:
    """Serve the stack whose folder this process stands in."""
    import uvicorn

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    stack = Stack.at(Path.cwd())
    subscribe(stack)
    uvicorn.run(application(stack), host=HOST, port=stack.ports[NAME], access_log=False)


if __name__ == "__main__":
    main()
