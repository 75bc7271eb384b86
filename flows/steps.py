"""The night's steps as Prefect tasks: each only calls a plain function, and adds retries and a name."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows.approving import ask
from flows.going_live import make_live
from flows.live import Live
from flows.pools import reproduce
from flows.relay import relayed
from infra.checkout import Checkout
from infra.errors import Unreachable
from infra.pipeline import Pipeline
from infra.registry import Registry
from infra.settings import Settings
from lineage.approvals import Asked
from lineage.books import Books
from lineage.ledger import Draft, Entry
from tasks import paths
from tasks.landing import Landed, land
from tasks.register import register
from tasks.register_encoder import register_encoder, registered_name


def _unreachable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only a service that did not answer is asked again; bad data stays bad."""
    return isinstance(state.result(raise_on_failure=False), Unreachable)


RETRIED: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": _unreachable,
}


@task(name="ingest", task_run_name="land", **RETRIED)
def land_step(kind: str, path: str | None, name: str, settings: Settings, as_of: date | None) -> Landed:
    """Land new partitions of the source."""
    landed = land(kind, path, name=name, settings=settings, as_of=as_of)
    for note in landed.notes:
        get_run_logger().info(note)
    for left in landed.left_out:
        get_run_logger().warning("left out, tried again next night: %s: %s", left["uri"], left["reason"])
    return landed


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE)
def stage_step(stage: str, pipeline: Pipeline, checkout: Checkout, go_on: Callable[[], None]) -> bool:
    """Bring one DVC stage up to date, where it runs best; True when its command ran. `go_on` raises to end it."""
    with relayed(checkout.log(stage), get_run_logger()):
        ran = reproduce(stage, pipeline, checkout, go_on)
    if not ran:
        get_run_logger().info("found, nothing to do")
    return ran


@task(name="candidates", task_run_name="{candidates}", cache_policy=NO_CACHE)
def candidates_step(candidates: Sequence[str], candidate: Callable[[str], None]) -> None:
    """Train and evaluate some candidates, one after the other."""
    for name in candidates:
        candidate(name)


@task(name="encoder", task_run_name="register {name}", **RETRIED)
def encoder_step(name: str, checkout: Checkout, books: Books) -> str:
    """Write what a learner left into MLflow; the number of its model version."""
    encoders = Registry(books.settings, registered_name(name, books.name))
    folder, metrics = checkout.path / paths.LEARNED / name, checkout.path / paths.LEARN_METRICS / f"{name}.json"
    return register_encoder(folder, metrics, encoders, run=checkout.run, name=name)


@task(name="reach", task_run_name="reach MLflow", **RETRIED)
def reach_step(registry: Registry) -> None:
    """Ask MLflow for the experiment, which makes it where it is not; hours of training are not lost to a wrong URL."""
    get_run_logger().debug("MLflow's experiment %s", registry.experiment)


@task(name="record", task_run_name="record", **RETRIED)
def record_step(message: str, pipeline: Pipeline, checkout: Checkout) -> str:
    """Commit what the run made, and push what the commit names to the DVC remote; the commit."""
    commit = checkout.record(message)
    pipeline.push()
    return commit


@task(name="register", task_run_name="register", **RETRIED)
def register_step(checkout: Checkout, bundle: Path, registry: Registry, tags: Mapping[str, str]) -> str:
    """Write the night into MLflow; the model version's number."""
    version = register(checkout.path, bundle, registry, run=checkout.run, tags=tags)
    get_run_logger().info("model version %s of %s", version, registry.name)
    return version


@task(name="ask", task_run_name="ask for approval", **RETRIED)
def ask_step(draft: Draft, after: Entry | None, live: Live) -> Asked:
    """Have a release that passed wait for a person."""
    return ask(draft, live, after=after)


@task(name="release", task_run_name="release", **RETRIED)
def release_step(draft: Draft, after: Entry | None, books: Books, registry: Registry) -> Entry:
    """Make a published release the live one; its ledger entry. Raises `LostRace` when another run was first."""
    entry = make_live(draft, books, registry, after=after)
    get_run_logger().info("release %s is live as entry %d", entry.release[:12], entry.seq)
    return entry
