"""The gate: hold the challenger against the champion and give a verdict, always. It fails closed."""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from tasks.checks import (
    Check,
    Side,
    check_at_least,
    check_at_most,
    check_figures,
    check_holdout,
    check_primary,
    check_slices,
    check_validated,
    failed,
    figure,
    pairing_fault,
    text,
)
from tasks.params import Gate, Params, load_params
from tasks.paths import (
    CHAMPION_EVALUATION,
    CHAMPION_METRICS,
    EVALUATE_METRICS,
    EVALUATION,
    INDEX_METRICS,
    VALIDATION_METRICS,
    VERDICT,
)
from tasks.stage import stage, write_json

log = logging.getLogger(__name__)

BASELINE = "popularity"


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger may go live, and every check with its figures and reason.

    Attributes:
        passed: all checks passed.
        challenger: its candidate's name, None where none is known.
        champion: digest of the live release, None where there is none.
        against: `champion`, or `popularity` where there is no champion.
        checks: in the order in which they were held.
        failed_candidates: candidates of the run that have no evaluation.
    """

    passed: bool
    challenger: str | None
    champion: str | None
    against: str
    checks: list[Check]
    failed_candidates: list[str]


@dataclass(frozen=True)
class Evidence:
    """What the steps before the gate left; any part may be missing or malformed.

    Attributes:
        challenger, reference: the two evaluations; `reference` is the champion's, or popularity's without a champion.
        validation, index, champion: content of `metrics/validation.json`, `index.json` and `champion.json`.
        failed_candidates: candidates without an evaluation.
    """

    challenger: Side
    reference: Side
    validation: object
    index: object
    champion: object
    failed_candidates: list[str]


def judge(evidence: Evidence, *, params: Gate, candidates: list[str], primary: str, seed: int) -> Verdict:
    """Hold every check and say which ones failed and why. Raises nothing, whatever the evidence holds.

    Args:
        evidence: what the run left.
        params: bounds and margins.
        candidates: what the run was to train.
        primary: the metric that decides, such as `ndcg@10`.
        seed: of the bootstrap.
    """
    ours, theirs = evidence.challenger, evidence.reference
    name, release = text(evidence.index, "challenger"), text(evidence.champion, "release")
    against = BASELINE if _no_champion(evidence.champion) else "champion"
    fault = pairing_fault(ours, theirs, primary)
    checks = [
        check_validated(evidence.validation),
        _check_challenger(evidence, candidates),
        _check_champion(evidence),
        check_figures(ours, theirs),
        check_holdout(fault),
        *_comparisons(evidence, fault, against, params=params, primary=primary, seed=seed),
        *_guardrails(evidence, params, k=primary.partition("@")[2]),
    ]
    passed = all(check.passed for check in checks)
    return Verdict(passed, name, release, against, checks, evidence.failed_candidates)


def _no_champion(champion: object) -> bool:
    return isinstance(champion, Mapping) and "release" in champion and champion["release"] is None


def _check_challenger(evidence: Evidence, candidates: list[str]) -> Check:
    name = text(evidence.index, "challenger")
    if name not in candidates:
        return failed("challenger", "The index names no challenger among this run's candidates")
    if text(evidence.challenger.facts, "candidate") != name:
        return failed("challenger", f"The evaluation of {name} is missing or of another candidate")
    return Check("challenger", None, None, None, True, f"{name} is this run's choice of {len(candidates)} candidates")


def _check_champion(evidence: Evidence) -> Check:
    if _no_champion(evidence.champion):
        known = text(evidence.reference.facts, "candidate") == BASELINE
        reason = "There is no live release, so the challenger is held against popularity"
        return Check("champion", None, None, None, known, reason if known else f"{reason}, which was not evaluated")
    release = text(evidence.champion, "release")
    if release is None or not re.fullmatch(r"[0-9a-f]{64}", release):
        return failed("champion", "There is no record of what is live and how it does tonight")
    return Check("champion", None, None, None, True, f"The live release {release[:12]} was evaluated again tonight")


def _comparisons(
    evidence: Evidence, fault: str | None, against: str, *, params: Gate, primary: str, seed: int
) -> list[Check]:
    """The primary metric and its slices, against the champion or, for want of one, better than popularity."""
    ours, theirs = evidence.challenger, evidence.reference
    if fault:
        return [failed("primary", fault), failed("slices", fault)]
    rule = params.rule if against == "champion" else "better"
    if against == BASELINE and ours.called == BASELINE:
        first = failed(
            "primary", "The challenger is popularity itself: no candidate was better, and there is no champion"
        )
    else:
        first = check_primary(ours, theirs, primary=primary, params=params, rule=rule, seed=seed)
    return [first, *check_slices(ours, theirs, primary=primary, margin=params.slice_margin)]


def _guardrails(evidence: Evidence, params: Gate, *, k: str) -> list[Check]:
    def both(*keys: str) -> tuple[float | None, float | None]:
        return figure(evidence.challenger.facts, *keys), figure(evidence.reference.facts, *keys)

    coverage, bias = f"coverage@{k}", f"popularity_bias@{k}"
    return [
        check_at_least(coverage, *both("metrics", coverage), params.min_coverage),
        check_at_most(bias, *both("metrics", bias), params.max_popularity_bias),
        check_at_most("milliseconds", *both("milliseconds"), params.max_milliseconds),
        check_at_most("megabytes", *both("megabytes"), params.max_megabytes),
        check_at_least("index recall", _index_recall(evidence.index), None, params.min_index_recall),
    ]


def _index_recall(index: object) -> float | None:
    """The one figure `recall@k` of the index; None where there is none, or several to choose from."""
    names = [name for name in index if str(name).startswith("recall@")] if isinstance(index, Mapping) else []
    return figure(index, names[0]) if len(names) == 1 else None


def gather(root: Path, *, candidates: list[str]) -> Evidence:
    """Read what the steps of the run in the checkout `root` left. Raises nothing: what cannot be read is None."""
    index, champion = _read(root / INDEX_METRICS), _read(root / CHAMPION_METRICS)
    name = text(index, "challenger")
    challenger = _candidate(root, name) if name in candidates else None
    if _no_champion(champion):
        reference = _candidate(root, BASELINE)
    else:
        reference = Side("the champion", champion, _rows(root / CHAMPION_EVALUATION / "viewers.parquet"))
    return Evidence(
        challenger=challenger or Side("the challenger", None, None),
        reference=reference,
        validation=_read(root / VALIDATION_METRICS),
        index=index,
        champion=champion,
        failed_candidates=[name for name in candidates if _read(root / EVALUATE_METRICS / f"{name}.json") is None],
    )


def _candidate(root: Path, name: str | None) -> Side:
    facts = _read(root / EVALUATE_METRICS / f"{name}.json")
    return Side(str(name), facts, _rows(root / EVALUATION / str(name) / "viewers.parquet"))


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _rows(path: Path) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return None


def gate(params: Params, *, root: Path) -> Verdict:
    """Judge the run in the checkout `root` and write `metrics/verdict.json`. A failing verdict is no exception."""
    verdict = judge(
        gather(root, candidates=params.every_candidate),
        params=params.gate,
        candidates=params.every_candidate,
        primary=params.evaluate.primary,
        seed=params.seed,
    )
    write_json(root / VERDICT, asdict(verdict))
    good = sum(check.passed for check in verdict.checks)
    word = "passed" if verdict.passed else "failed"
    log.info(
        "verdict %s | %s against %s | %d of %d checks",
        word,
        verdict.challenger,
        verdict.against,
        good,
        len(verdict.checks),
    )
    for check in verdict.checks:
        if not check.passed:
            log.warning("%s: %s", check.name, check.reason)
    return verdict


def main() -> None:
    """The stage `gate`."""
    gate(load_params(Path("params.yaml")), root=Path())


if __name__ == "__main__":
    stage(main)
