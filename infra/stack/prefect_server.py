"""Prefect's server on PostgreSQL, which asks for user and password."""

from infra.stack import postgres
from infra.stack.credentials import USER
from infra.stack.layout import HOST, Stack
from infra.stack.service import PYTHON, Service, asked

NAME = "prefect"


def service(stack: Stack) -> Service:
    """Prefect's server of `stack`.

    `prefect server start` would start a second process, which outlives a kill of the first and keeps its port; this is
    the command that it starts.
    """
    door = ["--host", HOST, "--port", str(stack.ports[NAME]), "--timeout-keep-alive", "5", "--no-access-log"]
    return Service(
        NAME,
        where=stack.url(NAME),
        command=[*PYTHON, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", *door],
        environment=environment(stack),
        after=(postgres.NAME,),
        ready=lambda: is_ready(api(stack), auth(stack)),
    )


def environment(stack: Stack) -> dict[str, str]:
    """Where its state is, and what it asks for."""
    return {
        **postgres.password_file(stack),
        "PREFECT_HOME": str(stack.data(NAME)),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url(stack, postgres.PREFECT, driver="asyncpg"),
        "PREFECT_SERVER_API_AUTH_STRING": auth(stack),
        "PREFECT_API_AUTH_STRING": auth(stack),  # its own services ask it too
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_UI_API_URL": api(stack),
    }


def api(stack: Stack) -> str:
    """The address that clients are told."""
    return f"{stack.url(NAME)}/api"


def auth(stack: Stack) -> str:
    """User and password as Prefect takes them."""
    return f"{USER}:{stack.credentials.prefect}"


def is_ready(api: str, auth: str | None) -> bool:
    """Whether the server at `api` answers from its database to this user."""
    return asked(f"{api}/flows/count", auth, content={}) is not None
