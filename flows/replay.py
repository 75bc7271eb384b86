"""One night a day over a real log, as the schedule would have seen it."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from prefect import flow

from flows.night import night
from flows.outcome import Outcome, Request
from infra.errors import NightreelError
from infra.git import project_root
from infra.settings import Settings
from lineage.books import Books
from tasks.params import Params, load_params


@flow(name="replay", flow_run_name="replay-{request.source}-{first}-{last}", persist_result=False)
def replay(request: Request, first: date, last: date) -> list[Outcome]:
    """Run the night of each day from `first` to `last`, oldest first; each knows the days up to its own.

    A night that could not be judged is a row like any other. A replay that was killed goes on where it was: the nights
    that were done are read back, so that no night meets a champion that had not been trained yet.
    """
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [_done(request, day) or _night(request, day) for day in days]


def _night(request: Request, day: date) -> Outcome:
    try:
        return night(request.model_copy(update={"as_of": day}))
    except NightreelError as error:
        return Outcome(status="stopped", name=_name(request), as_of=str(day), reasons=(str(error),))


def _done(request: Request, day: date) -> Outcome | None:
    """The outcome of a night that lies behind the live release."""
    live_until = _live_until(request)
    if live_until is None or day > live_until:
        return None
    kept = [outcome for outcome in _outcomes(day) if outcome.name == _name(request)]
    if kept or day == live_until:
        return kept[-1] if kept else None
    reason = f"a release with data until {live_until} is live, so the night of {day} cannot be judged fairly any more"
    return Outcome(status="stopped", name=_name(request), as_of=str(day), reasons=(reason,))


def _outcomes(day: date) -> Iterator[Outcome]:
    """What nights of that day left behind, oldest first."""
    files = (Settings().home_dir / "runs").glob(f"{day}-*/outcome.json")
    for file in sorted(files, key=lambda path: path.stat().st_mtime):
        yield Outcome.model_validate_json(file.read_text(encoding="utf-8"))


def _live_until(request: Request) -> date | None:
    books = Books(Settings(), _name(request), _params(request).release.require_signature)
    head = books.ledger.head()
    return date.fromisoformat(books.releases.manifest(head.release).as_of) if head else None


def _name(request: Request) -> str:
    return _params(request).name or request.source


def _params(request: Request) -> Params:
    return load_params(project_root(Path(request.root)) / "params.yaml", request.overrides)
