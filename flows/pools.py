"""Where a step of a night runs: in the night's own process, or in the work pool `gpu` where it gains from one.

The night and the worker of that pool share the run's folder, so nothing is sent: the night finds there what the step
has made. Both sides see by the run's locks whether the other one still lives.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, WorkPoolStatus
from prefect.deployments import run_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType

from flows.gpu_step import step
from infra.checkout import Checkout
from infra.errors import BadInput, Refused
from infra.locks import is_locked, locked
from infra.needs import Needs
from infra.pipeline import Pipeline
from infra.settings import Settings
from infra.stack.worker import GPU
from models.catalogue import CLASSES, NEURAL

POLL_SECONDS = 0.5
SILENT_SECONDS = 20.0  # for so long a step may seem to be at work, or a worker to be there, while nobody is


def offer_steps() -> None:
    """Have nights that share this home find the pool `gpu`, whose worker this process is about to be."""
    made = step.to_deployment(
        name=_offer(Settings()), description="Steps of nights.", entrypoint_type=EntrypointType.MODULE_PATH
    )
    cast(RunnerDeployment, made).apply(work_pool_name=GPU)


def reproduce(stage: str, pipeline: Pipeline, checkout: Checkout, go_on: Callable[[], None]) -> bool:
    """Bring `stage` up to date, in the pool `gpu` where it gains from that and there is one; True when its command ran.

    Args:
        stage: the DVC stage.
        pipeline: the night's.
        checkout: of the night's run.
        go_on: raises when the night has to end; it is asked all the time.

    Raises:
        NightreelError: what the step said when it failed, or what `go_on` raises.
    """
    if not PREFECT_API_URL.value() or not gains(stage, checkout):
        return pipeline.reproduce(stage)
    with get_client(sync_client=True) as client:
        offer = _found(client)
        if offer is None:
            return pipeline.reproduce(stage)
        before = pipeline.said(stage)
        get_run_logger().info("sent to the pool %s", GPU)
        parameters = {"run": checkout.run, "stage": stage}
        asked = run_deployment(offer, parameters=parameters, flow_run_name=f"{stage} of {checkout.run}", timeout=0)
        ended = _ended(client, cast(FlowRun, asked), checkout, go_on)
    if ended.is_failed():
        raise pipeline.told(stage, before) or BadInput(f"Step {stage} failed in the pool {GPU}: {ended.message}")
    if ended.is_cancelled():
        raise Refused(f"Step {stage} was cancelled in the pool {GPU}.")
    if ended.is_completed():
        return pipeline.said(stage) > before
    get_run_logger().warning("lost in the pool %s, so it runs here: %s", GPU, ended.message)
    with locked(checkout.gpu_lock):  # whoever takes it up there after all then finds the work done
        return pipeline.reproduce(stage)


def gains(stage: str, checkout: Checkout) -> bool:
    """Whether `stage` is declared for the pool `gpu`; of the candidates that is true of those that Keras trains."""
    name = stage.partition("@")[2]
    return Needs.of(stage, checkout.path / "dvc.yaml").pool == GPU and (name not in CLASSES or name in NEURAL)


def _offer(settings: Settings) -> str:
    """The deployment of those workers that see the runs under this home, which another machine's may not."""
    return f"{GPU}-{hashlib.sha256(str(settings.home_dir).encode()).hexdigest()[:12]}"


def _found(client: SyncPrefectClient) -> UUID | None:
    """The deployment that runs steps, if its pool has a worker and this night is not in that pool itself."""
    try:
        offer = client.read_deployment_by_name(f"step/{_offer(Settings())}")
    except ObjectNotFound:
        return None
    own = client.read_flow_run(UUID(runtime.flow_run.id)).work_pool_name
    return offer.id if own != GPU and _is_served(client) else None


def _is_served(client: SyncPrefectClient) -> bool:
    return client.read_work_pool(GPU).status == WorkPoolStatus.READY


def _ended(client: SyncPrefectClient, asked: FlowRun, checkout: Checkout, go_on: Callable[[], None]) -> State[Any]:
    """The state in which a step's run ends; a crash where nobody has been at work on it for a while."""
    alive = time.monotonic()
    while time.monotonic() - alive < SILENT_SECONDS:
        go_on()
        with suppress(httpx.HTTPError):  # a server that starts again
            state = cast("State[Any]", client.read_flow_run(asked.id).state)
            if state.is_final():
                return state
            if not state.is_running() and _is_served(client):
                alive = time.monotonic()
        if is_locked(checkout.gpu_lock):
            alive = time.monotonic()
        time.sleep(POLL_SECONDS)
    lost: State[Any] = Crashed(message=f"nobody was at work on it for {SILENT_SECONDS:.0f} s")
    with suppress(httpx.HTTPError):
        client.set_flow_run_state(asked.id, lost, force=True)
    return lost
