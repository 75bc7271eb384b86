"""How a search stands: its trials, and what it proposes."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.errors import Refused
from models.early_stopping import METRIC
from tasks.params import load_params
from tasks.proposal import proposal
from tasks.search import Search
from tasks.search_space import value_of
from tasks.tried import Tried

ORDER = ("complete", "pruned", "fail")


class Tuned(BaseModel):
    """A search so far.

    Attributes:
        study: its name in Optuna, and the key of its run in MLflow.
        run: the night whose data was searched over.
        metric: what is in each trial's `value`, on the validation part.
        trials: all, the best first; then those that were pruned, then those that failed.
        present: number of the trial of the present parameters, None where it has not been finished.
        diff: to `params.yaml`; empty where that has the best parameters already.
        proposal: the file with `diff`, None where that is empty.
    """

    model_config = ConfigDict(frozen=True)

    candidate: str
    study: str
    run: str
    metric: str
    trials: tuple[Tried, ...]
    present: int | None
    diff: str
    proposal: Path | None

    @classmethod
    def of(cls, search: Search, trials: Sequence[Tried], *, run: str, params: Path, out: Path) -> "Tuned":
        """Rank `trials`, and leave the proposal for the file `params` in the file `out`.

        Raises:
            Refused: no trial was finished.
        """
        ranked = sorted(trials, key=lambda each: (ORDER.index(each.state), -(each.value or 0.0), each.number))
        if not ranked or ranked[0].state != "complete":
            why = ranked[-1].reason if ranked else "the time was over before the first"
            raise Refused(f"No trial of {search.candidate} was finished: {why}")
        there = getattr(load_params(params).train, search.candidate)
        better = {field: value for field, value in ranked[0].values.items() if value != value_of(there, field)}
        diff = proposal(params.read_text(encoding="utf-8"), search.candidate, better)
        out.unlink(missing_ok=True)
        if diff:
            out.write_text(diff, encoding="utf-8")
        present = (each.number for each in ranked if each.state == "complete" and each.values == search.start)
        return cls(
            candidate=search.candidate,
            study=search.key,
            run=run,
            metric=METRIC,
            trials=tuple(ranked),
            present=next(present, None),
            diff=diff,
            proposal=out if diff else None,
        )
