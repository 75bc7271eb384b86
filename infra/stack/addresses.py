"""Where a stack's services are and what they ask for, in the file that `infra.settings` reads."""

import json
from pathlib import Path

from pydantic import SecretStr

from infra.errors import BadInput, Unreachable
from infra.settings import ADDRESSES, Addresses, Settings
from infra.stack import mlflow_server, prefect_server, seaweedfs
from infra.stack.credentials import USER
from infra.stack.layout import Stack, write_private


def read(folder: Path) -> Addresses:
    """The addresses in a stack's folder."""
    return Addresses.model_validate_json((folder / ADDRESSES).read_text(encoding="utf-8"))


def write(folder: Path, where: Addresses) -> None:
    """Lead later commands to these services."""
    said = where.model_dump(exclude_none=True)
    shown = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in said.items()}
    write_private(folder / ADDRESSES, json.dumps(shown, indent=1))


def of(stack: Stack) -> Addresses:
    """Where the services of `stack` itself are."""
    s3 = seaweedfs.settings_of(stack)
    return Addresses.model_validate(
        {
            "store": f"s3://{seaweedfs.BUCKET}/store",
            "remote": f"s3://{seaweedfs.BUCKET}/dvc",
            "s3_endpoint": s3.s3_endpoint,
            "s3_access_key": s3.s3_access_key,
            "s3_secret_key": s3.s3_secret_key,
            "mlflow_uri": stack.url(mlflow_server.NAME),
            "mlflow_tracking_username": USER,
            "mlflow_tracking_password": stack.credentials.mlflow,
            "prefect_api_url": prefect_server.api(stack),
            "prefect_api_auth_string": prefect_server.auth(stack),
        }
    )


def external(settings: Settings) -> Addresses:
    """The services that `settings` name, each asked whether it answers.

    Raises:
        BadInput: an address is missing.
        Unreachable: a service does not answer, or refuses its credentials.
    """
    needed = {"store": "NIGHTREEL_STORE", "mlflow_uri": "NIGHTREEL_MLFLOW_URI", "prefect_api_url": "PREFECT_API_URL"}
    missing = [variable for name, variable in needed.items() if getattr(settings, name) is None]
    if missing:
        raise BadInput(f"--external takes the services from the environment. Missing: {', '.join(missing)}")
    given = {name: getattr(settings, name) for name in Addresses.model_fields.keys() - {"external"}}
    where = Addresses.model_validate(given | {"external": True})
    _ask(where, settings)
    return where


def _ask(where: Addresses, settings: Settings) -> None:
    from infra.stores import open_store

    open_store(settings.store_url, settings)
    user, password = where.mlflow_tracking_username, where.mlflow_tracking_password
    auth = f"{user}:{password.get_secret_value()}" if user and password else None
    if not mlflow_server.is_ready(str(where.mlflow_uri), auth):
        raise Unreachable(f"MLflow at {where.mlflow_uri} did not answer, or refused MLFLOW_TRACKING_USERNAME.")
    prefect = where.prefect_api_auth_string
    if not prefect_server.is_ready(str(where.prefect_api_url), prefect.get_secret_value() if prefect else None):
        raise Unreachable(f"Prefect at {where.prefect_api_url} did not answer, or refused PREFECT_API_AUTH_STRING.")
