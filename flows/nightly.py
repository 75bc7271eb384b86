"""What the clock starts: the night that is due, those that were missed, and nothing that is done already."""

from collections.abc import Sequence
from datetime import date, datetime

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Completed

from flows.leased import books_of, day_of
from flows.night import night
from flows.outcome import Outcome, Request
from flows.steps import land_step
from infra.errors import NightreelError
from lineage.moments import span
from lineage.runs import newest_records
from tasks.landing import open_reader

SKIPPED = "Skipped"


@flow(name="nightly", flow_run_name="nightly-{request.source}", persist_result=False)
def nightly(request: Request) -> list[Outcome] | State[None]:
    """Run the night that is due. Days that were missed go before it or are named, as `request.missed` says.

    Raises:
        NightreelError: how the night that is due ended; of a missed one, that is an outcome like any other.
    """
    if covered := _started_since_due():
        return _skipped(f"a night that started at {covered:%Y-%m-%d %H:%M} UTC, after this one was due, is done")
    today = day_of(request)
    outcomes = [_missed(request, day) for day in _days_before(request, today)]
    outcomes.append(night(request))
    *_, last = outcomes
    return _skipped(last.reasons[0]) if last.status == "skipped" else outcomes


def _skipped(why: str) -> State[None]:
    get_run_logger().info("skipped: %s", why)
    return Completed(name=SKIPPED, message=why)


def _started_since_due() -> datetime | None:
    """When a run of this deployment started that is done and came after this one was due; None without one.

    Prefect piles up what was due while no worker was there. Each waits for the one before, which knew as much.
    """
    if not runtime.deployment.id:
        return None
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(runtime.flow_run.id)
        due = min(when for state in states if (when := state.state_details.scheduled_time))
        done = client.read_flow_runs(
            deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [runtime.deployment.id]}}),
            flow_run_filter=FlowRunFilter.model_validate(
                {"state": {"name": {"any_": ["Completed"]}}, "start_time": {"after_": due}}
            ),
            sort=FlowRunSort.START_TIME_ASC,
            limit=1,
        )
    return done[0].start_time if done else None


def _days_before(request: Request, today: date) -> Sequence[date]:
    """The days between the newest recorded night and today whose nights are to be run, oldest first."""
    books = books_of(request)
    partitioned = open_reader(request.source, request.path, books.settings).partitioned
    newest = max((date.fromisoformat(record.as_of) for record in newest_records(books.store, books.name)), default=None)
    if not partitioned or newest is None or (today - newest).days < 2:
        return ()
    landed = land_step(request.source, request.path, books.name, books.settings, today)
    arrived = sorted({day for part in landed.parts for day in part.days})
    missed = [day for day in arrived if newest < day < today]
    if missed and request.missed == "skip":
        get_run_logger().warning("skipped: the nights of %s, which were missed", span([str(day) for day in missed]))
        return ()
    return missed


def _missed(request: Request, day: date) -> Outcome:
    get_run_logger().info("catching up with the night of %s, which was missed", day)
    try:
        return night(request.model_copy(update={"as_of": day}))
    except NightreelError as error:
        return Outcome(status="stopped", name=books_of(request).name, as_of=str(day), reasons=(str(error),))
