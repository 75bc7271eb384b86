"""A night's verdict and its candidates as Markdown, for Prefect's artifact pages."""

from collections.abc import Mapping, Sequence
from typing import Any

COSTS = {
    "seconds": "training, s",
    "peak_megabytes": "peak memory, MB",
    "joules": "energy (estimate), J",
    "milliseconds": "a recommendation, ms",
    "megabytes": "model, MB",
}


def verdict_markdown(verdict: Mapping[str, Any]) -> str:
    """A heading and a table with one row a check."""
    word = "passed" if verdict["passed"] else "refused"
    lines = [
        f"## {verdict['challenger']} {word} against {verdict['against']}",
        "",
        "| check | challenger | champion | bound | | reason |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {check['name']} | {figure(check['challenger'])} | {figure(check['champion'])} | {figure(check['bound'])} "
        f"| {'✓' if check['passed'] else '✗'} | {check['reason']} |"
        for check in verdict["checks"]
    ]
    return "\n".join(lines)


def standings_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with one row a candidate, of `tasks.standings.standings`: quality, costs, and what they mean together."""
    measured = [row for row in rows if "failed" not in row]
    primary = measured[0]["primary"] if measured else ""
    heads = ["candidate", primary, "interval", *COSTS.values(), "Pareto front", "challenger"]
    lines = ["## Candidates", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in measured:
        marks = ("✓" if row[mark] else "" for mark in ("front", "challenger"))
        costs = (figure(row[cost]) for cost in COSTS)
        between = f"{row['low']:.4f} to {row['high']:.4f}"
        lines.append(f"| {' | '.join([row['candidate'], f'{row[primary]:.4f}', between, *costs, *marks])} |")
    return "\n".join([*lines, *(f"\n{row['candidate']} failed: {row['failed']}" for row in rows if "failed" in row)])


def figure(value: object) -> str:
    """A number in four significant digits; anything else as text; nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
