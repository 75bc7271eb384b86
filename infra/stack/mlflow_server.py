"""MLflow's server: PostgreSQL behind it, artifacts on S3 through it, nothing without user and password."""

import base64
import hashlib
import os
from pathlib import Path

from infra.s3 import aws_environment
from infra.stack import postgres, seaweedfs
from infra.stack.credentials import USER
from infra.stack.layout import HOST, Stack, write_private
from infra.stack.service import PYTHON, Service, asked

NAME = "mlflow"
SEARCH = "api/2.0/mlflow/experiments/search"


def service(stack: Stack) -> Service:
    """MLflow's server of `stack`."""
    return Service(
        NAME,
        where=stack.url(NAME),
        command=[*PYTHON, "-m", "infra.stack.mlflow_server"],
        environment=environment(stack),
        after=(postgres.NAME,),
        prepare=lambda: _prepare(stack),
        ready=lambda: is_ready(stack.url(NAME), f"{USER}:{stack.credentials.mlflow}"),
    )


def environment(stack: Stack) -> dict[str, str]:
    """Where its state is, and its secrets."""
    return {
        **postgres.password_file(stack),
        **aws_environment(seaweedfs.settings_of(stack)),
        "MLFLOW_AUTH_CONFIG_PATH": str(stack.data(NAME) / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": stack.credentials.mlflow,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": stack.credentials.mlflow_cookies,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nobody asks for its jobs, and they are processes of their own
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # who takes its webhooks is on this machine; its administrator alone makes them
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _webhook_key(stack),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }


def _webhook_key(stack: Stack) -> str:
    """What webhooks' secrets are encrypted with in the database; it has to outlast the process."""
    digest = hashlib.sha256(f"webhooks {stack.credentials.mlflow_cookies}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode()


def is_ready(url: str, auth: str | None) -> bool:
    """Whether the server at `url` answers from its database to this user."""
    return asked(f"{url}/{SEARCH}?max_results=1", auth) is not None


def main() -> None:
    """Serve the stack whose folder this process stands in.

    `mlflow server` would start a second process, which outlives a kill of the first and keeps its port. So the
    variables that it hands to that one are set here, and its application is served by this process.
    """
    import uvicorn
    from mlflow.environment_variables import _MLFLOW_SGI_NAME
    from mlflow.server import constants

    stack = Stack.at(Path.cwd())
    _make_database(stack)
    os.environ[_MLFLOW_SGI_NAME.name] = "uvicorn"
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = _database(stack, NAME)
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = f"s3://{seaweedfs.BUCKET}/mlflow"
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    uvicorn.run("mlflow.server.auth:create_app", factory=True, host=HOST, port=stack.ports[NAME], access_log=False)


def _make_database(stack: Stack) -> None:
    """Make MLflow's database whole or not at all: a kill among its first tables would leave one that never opens."""
    if postgres.has_database(stack, NAME):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = f"{NAME}_partial"
    postgres.run(stack, f"DROP DATABASE IF EXISTS {partial} WITH (FORCE)", f"CREATE DATABASE {partial}")
    store = SqlAlchemyStore(_database(stack, partial), "mlflow-artifacts:/")  # type: ignore[no-untyped-call]
    store.engine.dispose()
    postgres.run(stack, f"ALTER DATABASE {partial} RENAME TO {NAME}")


def _database(stack: Stack, name: str) -> str:
    return postgres.url(stack, name, driver="psycopg")


def _prepare(stack: Stack) -> None:
    """Who may ask: the administrator alone, until that one lets others in."""
    auth = {"default_permission": "NO_PERMISSIONS", "database_uri": _database(stack, NAME)}
    auth["auth_cache_ttl_seconds"] = "60"  # else each request hashes the password, tens of milliseconds
    words = "".join(f"{name} = {value}\n" for name, value in auth.items())
    write_private(stack.data(NAME) / "auth.ini", f"[mlflow]\n{words}")


if __name__ == "__main__":
    main()
