"""Which services a stack has, in the order in which they start."""

from pathlib import Path

from infra.stack import addresses, hints, mlflow_server, postgres, prefect_server, seaweedfs, worker
from infra.stack.layout import Stack
from infra.stack.service import Service


def services_in(folder: Path) -> list[Service]:
    """The services of the stack in `folder`: all of them, or workers alone where the others are somewhere else."""
    stack, where = Stack.at(folder), addresses.read(folder)
    if where.external:
        auth = where.prefect_api_auth_string
        return worker.services(folder.parent, str(where.prefect_api_url), auth.get_secret_value() if auth else None)
    own = [each.service(stack) for each in (postgres, seaweedfs, mlflow_server, prefect_server, hints)]
    prefect = prefect_server.api(stack), prefect_server.auth(stack)
    return [*own, *worker.services(folder.parent, *prefect, after=(prefect_server.NAME,))]
