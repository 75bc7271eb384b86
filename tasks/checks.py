"""The checks of the gate, each a pure function of two evaluations. Whatever is missing or malformed is a failed check,
never an exception: the figures come from files that a broken step may have left.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tasks.bootstrap import paired_bootstrap
from tasks.params import Gate
from tasks.schema import Events
from tasks.slices import SLICED_BY

FIGURES = ("metrics", "slices", "viewers", "left_out", "milliseconds", "megabytes")
SAME_ROWS = (Events.USER, "viewer", *SLICED_BY)


@dataclass(frozen=True)
class Check:
    """One answer: both figures (None where there is none), the bound that was asked for, and why it passed or not."""

    name: str
    challenger: float | None
    champion: float | None
    bound: float | None
    passed: bool
    reason: str


@dataclass(frozen=True)
class Side:
    """One evaluation: what its metrics file holds and its rows by viewer; None where a file cannot be read.

    Attributes:
        called: how reasons name it.
        facts: the metrics file's content, whatever it is.
        viewers: one row a viewer.
    """

    called: str
    facts: object
    viewers: pl.DataFrame | None


def figure(tree: object, *keys: str) -> float | None:
    """The finite number under `keys` of nested mappings, else None."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    if isinstance(tree, bool) or not isinstance(tree, int | float):
        return None
    try:
        number = float(tree)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def text(tree: object, key: str) -> str | None:
    """The non-empty string under `key` of a mapping, else None."""
    value = tree.get(key) if isinstance(tree, Mapping) else None
    return value if isinstance(value, str) and value else None


def failed(name: str, reason: str) -> Check:
    """A check that could not even be held."""
    return Check(name, None, None, None, False, reason)


def check_validated(validation: object) -> Check:
    """The snapshot passed validation."""
    passed = isinstance(validation, Mapping) and validation.get("passed") is True
    reason = "The snapshot passed validation" if passed else "There is no record that this snapshot passed validation"
    return Check("validated snapshot", None, None, None, passed, reason)


def check_figures(ours: Side, theirs: Side) -> Check:
    """Both metrics files hold the same figures, and every one is a finite number."""
    name = "figures"
    flat = {side.called: _flat(side.facts) for side in (ours, theirs)}
    expected = sorted(set().union(*flat.values()))
    faults = [f"{called}: {path}" for called, found in flat.items() for path in expected if found.get(path) is None]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        return failed(name, f"Figures are missing or not finite: {', '.join(faults[:3])}{more}")
    return Check(name, None, None, None, True, f"All {len(expected)} figures are there and finite on both sides")


def _flat(facts: object) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for part in FIGURES:
        found |= _flatten(part, facts.get(part) if isinstance(facts, Mapping) else None, levels=2)
    return found


def _flatten(path: str, tree: object, *, levels: int) -> dict[str, float | None]:
    if not isinstance(tree, Mapping) or not tree or not levels:
        return {path: figure(tree)}
    found: dict[str, float | None] = {}
    for key, value in tree.items():
        found |= _flatten(f"{path} {key}", value, levels=levels - 1)
    return found


def pairing_fault(ours: Side, theirs: Side, primary: str) -> str | None:
    """Why the two evaluations are not of the same viewers on the same holdout, or None when they are."""
    for key in ("split_digest", "candidate"):
        for side in (ours, theirs):
            if text(side.facts, key) is None:
                return f"The evaluation of {side.called} has no {key}"
    if text(ours.facts, "split_digest") != text(theirs.facts, "split_digest"):
        return f"{ours.called} and {theirs.called} were evaluated on different splits"
    if figure(ours.facts, "left_out") != figure(theirs.facts, "left_out"):
        return f"{ours.called} and {theirs.called} left out different numbers of viewers"
    fault = _rows_fault(ours, primary) or _rows_fault(theirs, primary)
    if fault or ours.viewers is None or theirs.viewers is None:
        return fault
    differing = [column for column in SAME_ROWS if not ours.viewers[column].equals(theirs.viewers[column])]
    return (
        f"The viewer rows of {ours.called} and {theirs.called} differ in {', '.join(differing)}" if differing else None
    )


def _rows_fault(side: Side, primary: str) -> str | None:
    """Why one side's viewer rows cannot be used: unreadable, incomplete, or not those its metrics file was made of."""
    rows = side.viewers
    if rows is None:
        return f"The viewer rows of {side.called} are missing or unreadable"
    if missing := [column for column in (*SAME_ROWS, primary) if column not in rows.columns]:
        return f"The viewer rows of {side.called} lack {', '.join(missing)}"
    if not rows[primary].dtype.is_float() or any(rows[by].dtype != pl.String for by in SLICED_BY):
        return f"The viewer rows of {side.called} have columns of a wrong type"
    if (
        rows.select(SAME_ROWS).null_count().sum_horizontal().item()
        or not rows[primary].is_finite().fill_null(False).all()
    ):
        return f"The viewer rows of {side.called} have empty or non-finite values"
    mean = figure(side.facts, "metrics", primary)
    if rows.height == 0 or rows.height != figure(side.facts, "viewers") or not _agree(mean, _mean(rows, primary)):
        return f"The viewer rows of {side.called} do not add up to its {primary}"
    return None


def _agree(told: float | None, counted: float) -> bool:
    return told is not None and math.isclose(told, counted, rel_tol=1e-9, abs_tol=1e-12)


def _mean(rows: pl.DataFrame, column: str) -> float:
    return float(rows[column].to_numpy().mean())


def check_holdout(fault: str | None) -> Check:
    """Both sides were judged by the same viewers' same videos."""
    return Check("same holdout", None, None, None, fault is None, fault or "Both sides have the same viewers and split")


def check_primary(ours: Side, theirs: Side, *, primary: str, params: Gate, rule: str, seed: int) -> Check:
    """The lower end of the paired bootstrap interval of the difference lies above the bound that `rule` sets.

    The sides must have no `pairing_fault`.
    """
    if ours.viewers is None or theirs.viewers is None:
        return failed("primary", "There are no viewer rows to compare")
    bound = 0.0 if rule == "better" else -params.margin
    found = paired_bootstrap(
        ours.viewers[primary].cast(pl.Float64).to_numpy(),
        theirs.viewers[primary].cast(pl.Float64).to_numpy(),
        confidence=params.confidence,
        resamples=params.resamples,
        seed=seed,
    )
    reason = (
        f"{primary} of {ours.called} differs from {theirs.called}'s by {found.mean:+.4f}, {params.confidence:.0%} "
        f"interval {found.low:+.4f} to {found.high:+.4f}; its lower end must lie above {bound:+.4f}"
    )
    figures = _mean(ours.viewers, primary), _mean(theirs.viewers, primary)
    return Check("primary", *figures, bound, found.low > bound, reason)


def check_slices(ours: Side, theirs: Side, *, primary: str, margin: float) -> list[Check]:
    """No slice loses more than `margin` on average. The sides must have no `pairing_fault`."""
    checks = []
    for by in SLICED_BY:
        told = {name for side in (ours, theirs) for name in _slice_names(side.facts, by)}
        counted = set() if ours.viewers is None else {f"{by}={label}" for label in ours.viewers[by].unique()}
        if not told | counted:
            checks.append(failed(f"slice {by}", f"No viewer is in any slice by {by}"))
        checks += [_check_slice(ours, theirs, name, primary, margin) for name in sorted(told | counted)]
    return checks


def _slice_names(facts: object, by: str) -> list[str]:
    slices = facts.get("slices") if isinstance(facts, Mapping) else None
    return [name for name in slices if str(name).startswith(f"{by}=")] if isinstance(slices, Mapping) else []


def _check_slice(ours: Side, theirs: Side, name: str, primary: str, margin: float) -> Check:
    called = f"slice {name}"
    by, _, label = name.partition("=")
    means, rows = [], 0
    for side in (ours, theirs):
        within = pl.DataFrame() if side.viewers is None else side.viewers.filter(pl.col(by) == label)
        rows = within.height
        if rows == 0:
            return failed(called, f"The slice {name} of {side.called} is empty")
        mean = _mean(within, primary)
        told = figure(side.facts, "slices", name, "viewers"), figure(side.facts, "slices", name, primary)
        if told[0] != rows or not _agree(told[1], mean):
            return failed(called, f"The viewer rows of {side.called} do not add up to its slice {name}")
        means.append(mean)
    difference = means[0] - means[1]
    reason = f"{primary} differs by {difference:+.4f} over {rows} viewers; allowed is {-margin:+.4f} or more"
    return Check(called, means[0], means[1], -margin, difference >= -margin, reason)


def check_at_most(name: str, ours: float | None, theirs: float | None, bound: float) -> Check:
    """A guardrail that the challenger must not exceed."""
    return _guardrail(name, ours, theirs, bound, passed=ours is not None and ours <= bound, rule="at most")


def check_at_least(name: str, ours: float | None, theirs: float | None, bound: float) -> Check:
    """A guardrail that the challenger must reach."""
    return _guardrail(name, ours, theirs, bound, passed=ours is not None and ours >= bound, rule="at least")


def _guardrail(name: str, ours: float | None, theirs: float | None, bound: float, *, passed: bool, rule: str) -> Check:
    came = "it is missing or not finite" if ours is None else f"it is {ours:.4g}"
    return Check(name, ours, theirs, bound, passed, f"{name} must be {rule} {bound:g}; {came}")
