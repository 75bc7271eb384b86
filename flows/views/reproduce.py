"""A rebuilt release on screen: a row a candidate, then every difference by its name."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.verdict_page import figure

COLOURS = {"bit-equal": "green", "within tolerance": "yellow", "different": "red"}
SHOWN = 12  # differences of one kind; all of them are in the JSON


def show_reproduction(console: Console, result: Mapping[str, Any]) -> None:
    """Verdict, candidates and index, and what differs in data, code, parameters and environment."""
    word = "REPRODUCED" if result["reproduced"] else "NOT REPRODUCED"
    colour = "green" if result["reproduced"] else "red"
    where = f"commit {result['commit'][:12]}" + (" (as asked)" if result["requested"] else " (the run's own)")
    console.print(f"\n[bold {colour}]{word}[/]  release {result['release'][:12]}, {result['verdict']}, {where}")
    console.print(f"Release signed by {escape(result['signature'])}")
    console.print(_models(result))
    tolerance = result["tolerance"]
    console.print(
        f"[dim]Tolerance: {tolerance['tensor']:g} of a tensor's largest magnitude, {tolerance['metric']:g} of the "
        "primary metric.[/]"
    )
    for title, lines in _differences(result):
        _list(console, title, lines)
    if result["refreshed"]:
        console.print(f"release {result['refreshed'][:12]} serves its model, refreshed with new videos")
    for sentence in result["unexplained"]:
        console.print(f"[red]✗[/] {escape(sentence)}")


def _models(result: Mapping[str, Any]) -> Table:
    table = Table()
    for heading in ("", "tensors", "verdict", "differs by", "metric", "recorded"):
        right = heading in ("tensors", "metric", "recorded")
        table.add_column(heading, no_wrap=True, justify="right" if right else "left")
    for candidate in result["candidates"]:
        metric = candidate["metric"]
        figures = (_metric(metric["rebuilt"]), _metric(metric["recorded"]))
        table.add_row(*_model(candidate["name"], candidate["model"], candidate["verdict"]), *figures)
    table.add_section()
    index = result["index"]
    table.add_row(*_model("index", index, index["verdict"]), "", "")
    return table


def _model(name: str, model: Mapping[str, Any], verdict: str) -> tuple[str, ...]:
    if not (model["recorded"] or model["rebuilt"]):
        return (escape(name), "", "fails as it did", "")
    measured = [found for found in model["differences"] if found["largest"] is not None]
    largest = max(measured, key=lambda found: found["relative"] or 0.0, default=None)
    shown = figure(largest["largest"]) if largest else ""
    return (escape(name), str(model["tensors"]), f"[{COLOURS[verdict]}]{verdict}[/]", shown)


def _distance(found: Mapping[str, Any]) -> str:
    relative = "" if found["relative"] is None else f" ({figure(found['relative'])} relative)"
    return f"{figure(found['largest'])}{relative}"


def _metric(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"


def _differences(result: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "Data as stored", [f"{file['file']} {file['how']}" for file in result["data"]]
    yield "Data prepared again", [f"{file['file']} {file['how']}" for file in result["prepared"]]
    yield "Code", list(result["code"])
    yield "Parameters", [_value(found) for found in result["params"]]
    yield "Environment", [_value(found) for found in result["environment"]]
    for candidate in result["candidates"]:
        yield candidate["name"], _of_model(candidate["model"])
    yield "index", _of_model(result["index"])
    if result["challenger"]:
        yield "Challenger", [_value(result["challenger"])]


def _of_model(model: Mapping[str, Any]) -> list[str]:
    lines = [f"failed: {model['failed']}"] if model["failed"] else []
    if model["recorded"] != model["rebuilt"]:
        lines.append("is recorded, but was not made again" if model["recorded"] else "was made, but is not recorded")
    lines += [f"{file['file']} {file['how']}" for file in model["files"]]
    for found in model["differences"]:
        by = "" if found["largest"] is None else f", by {_distance(found)} at most"
        lines.append(f"{found['tensor']}: {found['how']}{by}")
    return lines


def _value(found: Mapping[str, Any]) -> str:
    now, recorded = ("none" if found[side] is None else found[side] for side in ("now", "recorded"))
    return f"{found['what']}: {now}, recorded {recorded}"


def _list(console: Console, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    console.print(f"[bold]{escape(title)}[/]")
    for line in lines[:SHOWN]:
        console.print(f"  {escape(line)}")
    if len(lines) > SHOWN:
        console.print(f"  [dim]and {len(lines) - SHOWN} more; see --json[/]")
