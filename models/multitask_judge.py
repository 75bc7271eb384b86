"""How well a multi-task ranker tells, by viewers that it was not trained on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from models.calibration import Line, calibration_error, fit_chances, fit_values
from models.early_stopping import METRIC, ndcg
from models.feedback import VALUES
from models.multitask_examples import Part
from models.two_stage import best_of

K = 10

Table = NDArray[np.float32]
Values = NDArray[np.float32]


def units(truth: Table, tasks: Sequence[str]) -> list[Line]:
    """By task the line that brings values to a deviation of 1, so that no task drowns another; chances stay.

    Args:
        truth: `[rows, tasks]`, NaN where it is not known.
        tasks: their names.
    """
    known = [truth[~np.isnan(truth[:, at]), at] for at in range(len(tasks))]
    return [Line.to_unit(values) if task in VALUES else Line() for task, values in zip(tasks, known, strict=True)]


def fit_lines(told: Table, truth: Table, tasks: Sequence[str], scale: Sequence[Line]) -> list[Line]:
    """By task the line that calibrates what the network `told` `[rows, tasks]` of what `scale` made of `truth`."""
    lines = []
    for at, task in enumerate(tasks):
        known, back = ~np.isnan(truth[:, at]), scale[at].back()
        fit = fit_values if task in VALUES else fit_chances
        lines.append(fit(back(told[known, at]), truth[known, at]).after(back))
    return lines


def judged_tasks(told: Table, part: Part, tasks: Sequence[str], lines: Sequence[Line]) -> dict[str, dict[str, Any]]:
    """By task how many examples judged it, and how well it is told: before calibration, after, and by a constant.

    Yes or no: `log_loss`, `base_log_loss`, `auc` and `calibration_error`; a value: `rmse` and `base_rmse`.
    """
    found = {}
    for at, task in enumerate(tasks):
        known = ~np.isnan(part.told[:, at])
        truth, raw = part.told[known, at], told[known, at]
        if len(truth):
            judge = _value if task in VALUES else _chance
            found[task] = {"examples": len(truth), "mean": float(truth.mean())} | judge(truth, raw, lines[at])
    return found


def judged_lists(part: Part, scores: Values) -> dict[str, float]:
    """NDCG@10 of the ranker and of each retriever's own order, over the part's viewers."""
    orders = {"multitask": scores} | {name: -places.astype(np.float32) for name, places in part.pool.places.items()}
    n_viewers = part.relevant.n_viewers
    lists = {name: best_of(part.pool, order, K, n_viewers=n_viewers)[0] for name, order in orders.items()}
    return {f"{name} {METRIC}": ndcg(found, part.relevant) for name, found in lists.items()}


def auc(chances: Values, labels: Values) -> float | None:
    """Share of pairs of a 1 and a 0 that are in order, ties half (Mann and Whitney, 1947); None without any."""
    ones = int(labels.sum())
    zeros = len(labels) - ones
    if not ones or not zeros:
        return None
    ranks = float(rankdata(chances)[labels == 1].sum())
    return (ranks - ones * (ones + 1) / 2) / (ones * zeros)


def _chance(truth: Values, raw: Values, line: Line) -> dict[str, Any]:
    base = np.full(len(truth), np.log((truth.sum() + 0.5) / (len(truth) - truth.sum() + 0.5)), np.float32)
    chances = expit(line(raw))
    return {
        "log_loss": _log_loss(line(raw), truth),
        "base_log_loss": _log_loss(base, truth),
        "auc": auc(chances, truth),
        "calibration_error": calibration_error(chances, truth),
        "uncalibrated_error": calibration_error(expit(raw), truth),
    }


def _value(truth: Values, raw: Values, line: Line) -> dict[str, Any]:
    return {"rmse": float(np.sqrt(np.mean((line(raw) - truth) ** 2))), "base_rmse": float(truth.std())}


def _log_loss(logits: Values, labels: Values) -> float:
    return float(np.mean(np.logaddexp(0, logits.astype(np.float64)) - labels * logits))
