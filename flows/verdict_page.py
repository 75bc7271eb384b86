"""A verdict as Markdown, for Prefect's artifact page."""

from collections.abc import Mapping
from typing import Any


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


def figure(value: object) -> str:
    """A number in four significant digits; anything else as text; nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
