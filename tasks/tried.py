"""A trial of a search that has ended: as a row, and as a run in MLflow."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from infra.registry import Registry
from infra.studies import FAILED, VALUES, was_cut_off
from models.early_stopping import METRIC

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

EPOCHS = "epochs"
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "fail": "FAILED"}


class Tried(BaseModel):
    """One trial.

    Attributes:
        number: counts from 0 over the whole search.
        values: of the fields that are searched; empty where a kill came before they were drawn.
        value: NDCG@10 on the validation part; of a pruned trial, after its last epoch.
        epochs: metrics of each.
        seconds: wall time; None of a trial that was cut off, whose end nobody saw.
        reason: why it failed.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    state: Literal["complete", "pruned", "fail"]
    values: dict[str, Any]
    value: float | None
    seconds: float | None
    epochs: tuple[dict[str, float], ...] = ()
    reason: str | None = None

    @classmethod
    def of(cls, trial: "FrozenTrial") -> "Tried":
        """What Optuna keeps of a trial that has ended."""
        known, cut_off = trial.user_attrs, was_cut_off(trial)
        return cls.model_validate(
            {
                "number": trial.number,
                "state": trial.state.name.lower(),
                "values": known.get(VALUES, {}),
                "value": trial.value,
                "seconds": None if cut_off or not trial.duration else round(trial.duration.total_seconds(), 3),
                "epochs": tuple(known.get(EPOCHS, ())),
                "reason": "cut off" if cut_off else known.get(FAILED),
            }
        )


def log_trial(tried: Tried, registry: Registry, *, study: str, parent: str) -> None:
    """Write a trial into MLflow as a child of the run `parent`, or find that it is there.

    Raises:
        Unreachable: MLflow did not carry it out.
    """
    tags = {"nightreel.kind": "trial", "nightreel.state": tried.state}
    why = {"nightreel.reason": tried.reason} if tried.reason else {}
    run = registry.run(f"{study}/{tried.number}", title=f"trial {tried.number}", tags=tags | why, parent=parent)
    if registry.has_ended(run):
        return
    totals = {METRIC: tried.value, "seconds": tried.seconds}
    metrics = [(name, value, 0) for name, value in totals.items() if value is not None]
    for step, epoch in enumerate(tried.epochs, start=1):
        metrics += [(f"epoch.{name}", value, step) for name, value in epoch.items()]
    registry.log(run, params=tried.values, metrics=metrics)
    registry.finish(run, status=STATUS[tried.state])
