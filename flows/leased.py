"""The lease under which a flow changes what is live."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from prefect import get_run_logger

from flows.outcome import Request
from infra.git import project_root
from infra.settings import Settings
from lineage.books import Books
from lineage.holding import Held, holding
from lineage.lease import Lease, Leases
from tasks.params import load_params


@contextmanager
def leased(request: Request, work: str, *, waits_for: Callable[[Lease], bool]) -> Iterator[Held]:
    """Hold the lease of the recommender that `request` is about. Raises `Busy` when it is not waited for."""
    books, logger = books_of(request), get_run_logger()
    leases, above = Leases(books.store, books.name), books.ledger.newest_fence()
    with holding(leases, work, books.settings, above=above, told=logger.info, waits_for=waits_for) as held:
        yield held


def books_of(request: Request) -> Books:
    """The books of the recommender that `request` is about."""
    params = load_params(project_root(Path(request.root)) / "params.yaml", request.overrides)
    settings = Settings(home=Settings().home_dir)
    return Books(settings, params.name or request.source, params.release.require_signature)


def work_of(request: Request) -> str:
    """A night in words: equal words, equal night."""
    settings = f" with {', '.join(request.overrides)}" if request.overrides else ""
    return f"the night of {day_of(request)} over {request.path or request.source}{settings}"


def day_of(request: Request) -> date:
    """The night's day: the one that was asked for, or today (UTC)."""
    return request.as_of or datetime.now(UTC).date()
