"""Optuna: one study a search, kept in a database, so that a search that was killed goes on."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from infra.disk import room_on
from infra.errors import Unreachable
from infra.locks import locked
from infra.settings import Settings

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

VALUES = "values"  # what a trial tried
FAILED = "failed"  # why it failed; a trial that was cut off has no such word
STARTUP_TRIALS = 5  # whole ones, before any is pruned
WARMUP_EPOCHS = 3


@contextmanager
def opened_study(name: str, settings: Settings) -> Iterator["Study"]:
    """The study `name`, found or made, held against other processes of this machine until the block ends.

    Trials that a kill or an interrupt has cut off are marked as failed, and queued again once.

    Raises:
        Unreachable: the database of `settings.tuning_url` does not answer.
    """
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    home = settings.home_dir / "tuning"
    url = settings.tuning_url.get_secret_value() if settings.tuning_url else f"sqlite:///{home / 'studies.db'}"
    home.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with room_on(home), locked(home / f"{name}.lock"):
        try:
            study = optuna.create_study(
                storage=_storage(url),
                pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS),
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
            _queue_again(study)
            yield study
        except (SQLAlchemyError, StorageInternalError) as error:
            raise Unreachable(
                f"The database of hyperparameter searches did not answer: {str(error).splitlines()[0]}. Check "
                "NIGHTREEL_TUNING_URL, that it is up, and that its driver is installed."
            ) from error


def ended(study: "Study") -> "list[FrozenTrial]":
    """The trials that came to an end of their own: finished, pruned, or failed for a reason."""
    return [trial for trial in study.trials if trial.state.is_finished() and not was_cut_off(trial)]


def was_cut_off(trial: "FrozenTrial") -> bool:
    """Whether a kill or an interrupt ended it."""
    return trial.state.name == "FAIL" and FAILED not in trial.user_attrs


def try_first(study: "Study", values: Mapping[str, Any]) -> None:
    """Queue a trial of `values`, unless some trial has them."""
    if not any(trial.user_attrs.get(VALUES) == values for trial in study.trials):
        study.enqueue_trial(dict(values), user_attrs={VALUES: dict(values)})


def _storage(url: str) -> "RDBStorage":
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url)
    except ImportError as error:
        raise StorageInternalError(str(error)) from error


def _queue_again(study: "Study") -> None:
    """Fail what is still running, which nobody is at work on while the lock is held, and retry what was cut off."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RetryHeartbeatStaleTrialCallback as Retry
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        retry = Retry(max_retry=1)
        retried = {number for trial in study.trials for number in Retry.retry_history(trial)}
        for trial in study.trials:
            # one that was cut off while its values were drawn is simply drawn anew
            if was_cut_off(trial) and VALUES in trial.user_attrs and trial.number not in retried:
                retry(study, trial)
