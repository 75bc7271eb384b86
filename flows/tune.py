"""Hyperparameter search: Optuna says what is tried next and what is pruned, and each trial is a Prefect task."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.newest_night import newest_night
from flows.night import prepare_data
from flows.outcome import Request
from flows.quiet import log_console
from flows.steps import RETRIED
from infra.checkout import IN_USE
from infra.console import progress_bar
from infra.disk import room_on
from infra.errors import Refused
from infra.locks import locked
from infra.registry import Registry
from infra.settings import Settings
from infra.studies import FAILED, VALUES, ended, opened_study, try_first
from models.early_stopping import METRIC
from models.protocol import Diverged
from tasks.params import Params, load_params
from tasks.search import Search, needs_content
from tasks.search_space import Values
from tasks.tried import EPOCHS, Tried, log_trial
from tasks.tuned import Tuned

Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class Session:
    """A search while it goes on: where it is written down, and how it is told of."""

    search: Search
    registry: Registry
    parent: str
    tell: Tell

    def __call__(self, trial: optuna.Trial) -> float:
        """The value of one trial.

        What is drawn depends on the seed and on the trials that ended before, so that a search which was killed goes
        on as if it had not been.
        """
        done = len(ended(trial.study))
        trial.study.sampler = optuna.samplers.TPESampler(seed=self.search.data.seed + done)
        drawn = {field: kind.suggest(trial, field) for field, kind in self.search.space.items()}
        values = trial.user_attrs.get(VALUES, drawn)  # a queued one has them, with every digit
        trial.set_user_attr(VALUES, values)
        value = trial_step(trial.number, trial, values, self.search, lambda said: self.tell(done, said))
        if value is None:
            raise optuna.TrialPruned
        return value

    def log(self, _study: optuna.Study, trial: FrozenTrial) -> None:
        """Write a trial that has ended into MLflow."""
        log_step([Tried.of(trial)], self.registry, self.search.key, self.parent)


@flow(name="tune", flow_run_name="tune-{candidate}", persist_result=False)
def tune(request: Request, candidate: str, trials: int, hours: float) -> Tuned:
    """Search until there are `trials` in all or `hours` have passed, and propose what was best.

    No trial begins after the time is over; one that has begun is finished.

    Raises:
        BadInput, Unreachable: there is nothing to search over, or a service did not answer.
        Refused: the data is not fit to train on, or no trial was finished.
    """
    file = Path(request.root) / "params.yaml"
    params = load_params(file, request.overrides)
    params = params.model_copy(update={"name": params.name or request.source})
    settings = Settings(home=Settings().home_dir)
    with room_on(settings.home_dir), locked(settings.home_dir / IN_USE, shared=True):
        checkout = _checkout(request, candidate, params, settings)
        search, run = Search.over(checkout, candidate, params), checkout.parent.name
        registry = Registry(settings, str(params.name))
        parent = study_step(search, registry, run)
        with opened_study(search.key, settings) as study, _bar(candidate, trials) as tell:
            _go_on(study, Session(search, registry, parent, tell), trials=trials, seconds=hours * 3600)
            tried = [Tried.of(trial) for trial in study.trials if trial.state.is_finished()]
            out = settings.home_dir / "tuning" / f"{search.key}.diff"
            tuned = Tuned.of(search, tried, run=run, params=file, out=out)
        proposal_step(tuned, registry, parent)
        return tuned


def _checkout(request: Request, candidate: str, params: Params, settings: Settings) -> Path:
    """The checkout with the data: of the newest night, or made by the night's own steps where there is none."""
    encoded = needs_content(candidate, params)
    checkout = newest_night(settings, params, encoded=encoded) or prepare_data(request, encode=encoded)
    get_run_logger().info("over the data of run %s", checkout.parent.name)
    return checkout


@contextmanager
def _bar(candidate: str, trials: int) -> Iterator[Tell]:
    """A progress bar over trials; it is told how many have ended, and what is done now."""
    with progress_bar(log_console()) as bar:
        row = bar.add_task(f"tune {candidate}", total=trials)
        yield lambda done, said: bar.update(row, completed=done, description=f"tune {candidate}, {said}")


def _go_on(study: optuna.Study, session: Session, *, trials: int, seconds: float) -> None:
    """Bring `study` to `trials` that ended by themselves, if the time suffices; the present parameters come first."""
    known = [Tried.of(trial) for trial in study.trials if trial.state.is_finished()]
    log_step(known, session.registry, session.search.key, session.parent)  # what a kill has left out
    try_first(study, session.search.start)
    left = max(trials - len(ended(study)), 0)
    study.optimize(
        session, n_trials=left, timeout=seconds, catch=(Refused,), gc_after_trial=True, callbacks=[session.log]
    )


@task(name="study", task_run_name="study", **RETRIED)
def study_step(search: Search, registry: Registry, run: str) -> str:
    """The search's run in MLflow, found or made; its id."""
    tags = {"nightreel.kind": "study", "nightreel.candidate": search.candidate, "nightreel.run": run}
    return registry.run(search.key, title=f"tune {search.candidate}", tags=tags)


@task(name="trial", task_run_name="trial {number}", cache_policy=NO_CACHE)
def trial_step(
    number: int, trial: optuna.Trial, values: Values, search: Search, tell: Callable[[str], None]
) -> float | None:
    """Train and judge one set of parameters; None when it was pruned. Raises `Refused` when its training failed."""
    told = ", ".join(f"{field} {'null' if value is None else value}" for field, value in values.items())
    epochs: list[dict[str, float]] = []

    def on_epoch(epoch: int, at_most: int, metrics: dict[str, float]) -> None:
        epochs.append(metrics)
        trial.set_user_attr(EPOCHS, epochs)
        trial.report(metrics[METRIC], epoch)
        tell(f"trial {number}, epoch {epoch} of at most {at_most}")
        if trial.should_prune():
            raise optuna.TrialPruned

    tell(f"trial {number}")
    try:
        value = search.judge(values, on_epoch)
    except optuna.TrialPruned:
        get_run_logger().info("pruned after epoch %d, %s %.4f: %s", len(epochs), METRIC, epochs[-1][METRIC], told)
        return None
    except (Diverged, MemoryError) as error:
        reason = str(error) or "out of memory"
        trial.set_user_attr(FAILED, reason)
        raise Refused(f"trial {number} failed: {reason}: {told}") from error
    get_run_logger().info("%s %.4f: %s", METRIC, value, told)
    return value


@task(name="log", task_run_name="log", **RETRIED)
def log_step(trials: Sequence[Tried], registry: Registry, study: str, parent: str) -> None:
    """Write trials into MLflow."""
    for tried in trials:
        log_trial(tried, registry, study=study, parent=parent)


@task(name="propose", task_run_name="propose", **RETRIED)
def proposal_step(tuned: Tuned, registry: Registry, parent: str) -> None:
    """Write into MLflow how the search stands."""
    figures = [(tuned.metric, tuned.trials[0].value or 0.0, 0), ("trials", float(len(tuned.trials)), 0)]
    registry.log(parent, params={}, metrics=figures)
    if tuned.proposal:
        registry.log_files(parent, tuned.proposal, "proposal")
    registry.finish(parent)
