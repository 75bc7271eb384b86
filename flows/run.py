"""Start flows from the command line: set Prefect's home and its tone first, then import it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.quiet import make_readable, prefect_at_home
from infra.disk import disk_errors, require_room
from infra.errors import BadInput, Unreachable
from infra.git import project_root
from infra.s3 import SCHEME
from infra.settings import Settings
from infra.stack.worker import POOL

if TYPE_CHECKING:
    from flows.outcome import Outcome, Refreshed, Request, Watched
    from flows.people import Finding
    from tasks.tuned import Tuned


def _request(source: str, path: str | None, as_of: date | None, overrides: Sequence[str]) -> "Request":
    """What is asked for, looked over before Prefect starts. A scheduled night stands elsewhere, so paths are absolute.

    Raises:
        BadInput: not in a checkout, a parameter is unknown or of a wrong type, or the source needs a path.
    """
    from flows.outcome import Request
    from tasks.landing import open_reader
    from tasks.params import load_params

    root = project_root()
    load_params(root / "params.yaml", overrides)
    open_reader(source, path, Settings())
    if path and not path.startswith(SCHEME):
        path = str(Path(path).resolve())
    return Request.model_validate(
        {"root": str(root), "source": source, "path": path, "as_of": as_of, "overrides": tuple(overrides)}
    )


def _prefect_ready() -> None:
    """After this, Prefect may be imported. Raises `BadInput` where there is no room for its state."""
    settings = Settings()
    home = settings.home_dir
    require_room(home)
    with disk_errors(home):
        prefect_at_home(settings)
    import prefect  # noqa: F401 - imported for its logging set-up, which the filters are attached to

    make_readable()


@contextmanager
def _prefect() -> Iterator[None]:
    """Prefect with a server that answers. The one that it starts for itself, when none is set, takes ten seconds.

    Raises:
        Unreachable: the server does not start, or does not answer now or later.
    """
    _prefect_ready()
    from httpx import HTTPError
    from prefect.client.orchestration import get_client

    try:
        client = get_client(sync_client=True)
    except RuntimeError as error:
        raise Unreachable(f"Prefect's temporary server did not start: {' '.join(str(error).split())}") from error
    try:
        with client:
            client.hello()
        yield
    except HTTPError as error:
        raise Unreachable(
            f"Prefect's server at {client.api_url} did not answer: {error}. Check PREFECT_API_URL and the server."
        ) from error


def run_night(source: str, path: str | None, as_of: date | None, overrides: Sequence[str]) -> "Outcome":
    """One night in this process."""
    request = _request(source, path, as_of, overrides)
    with _prefect():
        from flows.night import night

        return night(request)


def run_refresh(source: str, path: str | None, as_of: date | None, overrides: Sequence[str]) -> "Refreshed":
    """Bring the live release up to the catalogue of now."""
    request = _request(source, path, as_of, overrides)
    with _prefect():
        from flows.refresh import refresh

        return refresh(request)


def run_monitor(
    name: str | None,
    source: str,
    path: str | None,
    as_of: date | None,
    overrides: Sequence[str],
    *,
    plot: Path | None = None,
    prometheus: Path | None = None,
) -> "Watched":
    """Measure the live release on the days since it was trained; `plot`, `prometheus`: files to leave."""
    from flows.monitor_results import leave_results, require_page

    if plot:
        require_page(plot)
    request = _request(source, path, as_of, overrides)
    with _prefect():
        from flows.monitor import watch_live

        watched = watch_live(request.root, name, request.source, request.path, request.as_of, request.overrides)
    leave_results(watched.model_dump(mode="json"), plot=plot, prometheus=prometheus)
    return watched


def run_replay(source: str, path: str, first: date, last: date, overrides: Sequence[str]) -> "list[Outcome]":
    """One night a day from `first` to `last`."""
    if last < first:
        raise BadInput(f"--to must not lie before --from. Received: --from {first} --to {last}")
    request = _request(source, path, None, overrides)
    with _prefect():
        from flows.replay import replay

        return replay(request, first, last)


def run_leaderboard(
    source: str, path: str | None, split: str, k: int, overrides: Sequence[str], *, plot: Path | None = None
) -> list[dict[str, Any]]:
    """Train and evaluate all candidates; one row each, best first. `plot`: where to draw them."""
    if plot:
        from tasks.cost_plots import picture_kind

        picture_kind(plot)  # said before the training rather than after it
    measured = [f"prepare.split={split}", f"evaluate.ks=[{k}]", f"evaluate.primary=ndcg@{k}"]
    if split == "random":
        measured.append("prepare.holdout=0.25")  # the literature's 75/25 a viewer
    request = _request(source, path, None, [*overrides, *measured])
    with _prefect():
        from flows.leaderboard import draw, leaderboard

        rows = leaderboard(request)
    if plot:
        draw(rows, plot)
    return rows


def run_tune(
    candidate: str, trials: int, hours: float, source: str, path: str | None, overrides: Sequence[str]
) -> "Tuned":
    """Search over one candidate's parameters.

    Raises:
        BadInput: the candidate is unknown or has nothing to search over, or no trial or no time is given.
    """
    from models.catalogue import CLASSES
    from tasks.search_space import require_searchable

    require_searchable(candidate, CLASSES)
    if trials < 1:
        raise BadInput(f"--trials must be 1 or more. Received: {trials}")
    if not 0 < hours < float("inf"):
        raise BadInput(f"--hours must be a number above 0. Received: {hours}")
    request = _request(source, path, None, overrides)
    with _prefect():
        from flows.tune import tune

        return tune(request, candidate, trials, hours)


def run_reconcile(name: str | None) -> "list[Finding]":
    """One pass over what people asked for in MLflow."""
    root = project_root()
    with _prefect():
        from flows.reconcile import reconcile

        return reconcile(str(root), name)


def make_schedule(
    cron: str,
    source: str,
    path: str | None,
    overrides: Sequence[str],
    *,
    missed: str,
    limit_hours: float | None,
    events: str | None,
    pool: str | None = None,
) -> dict[str, Any]:
    """Make the deployments; what they are called and when they run.

    Raises:
        BadInput: the limit is no time, or the events are of no place.
    """
    if limit_hours is not None and not 0 < limit_hours < float("inf"):
        raise BadInput(f"--limit-hours must be a number above 0. Received: {limit_hours}")
    if events and not path:
        raise BadInput("--events tells of a source that has a --path. Received: none")
    request = _request(source, path, None, overrides)
    request = request.model_copy(update={"missed": missed, "limit_hours": limit_hours})
    if events and not events.startswith(SCHEME):
        events = str(Path(events).resolve())
    with _prefect():
        from flows import schedule

        return schedule.make_schedule(cron, request, pool=pool or POOL, events=events)


def run_worker(pool: str | None, *, healthcheck: bool) -> None:
    """Run what is due in a work pool, by default that of scheduled nights, until interrupted."""
    _prefect_ready()
    from flows import schedule

    schedule.run_worker(pool or POOL, healthcheck=healthcheck)
