"""What the commands print: tables where people look, JSON where programs read."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from flows.verdict_page import figure

Content = TypeVar("Content")
COLOURS = {"released": "green", "unchanged": "cyan", "refused": "red", "stopped": "yellow"}


def show(content: Content, render: Callable[[Console, Content], None], *, as_json: bool) -> None:
    """Print `content` with `render`, or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")
    else:
        render(Console(highlight=False), content)


def show_fields(console: Console, fields: Mapping[str, Any]) -> None:
    """One line a field."""
    table = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        if value is not None:
            table.add_row(f"[bold]{name}[/bold]", figure(value))
    console.print(table)


def show_outcome(console: Console, outcome: Mapping[str, Any]) -> None:
    """How a night ended: status, figures, where to look."""
    status = outcome["status"]
    title = f"{outcome['name']}, night of {outcome['as_of']}"
    console.print(f"\n[bold {COLOURS.get(status, 'white')}]{status.upper()}[/]  {title}")
    compared = f"{figure(outcome['challenger_score'])}"
    if outcome["champion_score"] is not None:
        compared += f" (champion {figure(outcome['champion_score'])})"
    fields = {
        "challenger": f"{outcome['challenger']}, {outcome['primary']} {compared}",
        "rows": f"{outcome['rows']:,}, {outcome['quarantined']:,} in quarantine",
        "release": outcome["release"] and f"{outcome['release'][:12]}, ledger entry {outcome['seq']}",
        "model version": outcome["model_version"],
        "run": f"{outcome['run']} (git ref refs/nightreel/runs/{outcome['run']})",
        "data docs": outcome["docs"],
        "seconds": ", ".join(f"{step} {seconds:.1f}" for step, seconds in outcome["seconds"].items()),
    }
    show_fields(console, fields)
    for candidate, reason in outcome["failed_candidates"].items():
        console.print(f"[yellow]candidate {candidate} failed:[/] {reason}")
    for reason in outcome["reasons"]:
        console.print(f"[red]✗[/] {reason}")


def show_replay(console: Console, nights: Sequence[Mapping[str, Any]]) -> None:
    """One row a night."""
    table = Table("day", "rows", "quarantined", "challenger", "challenger", "champion", "verdict", "live release")
    table.title = f"{len(nights)} nights; scores are {next((n['primary'] for n in nights if n['primary']), '')}"
    live = ""
    for night in nights:
        live = f"{night['release'][:12]} (entry {night['seq']})" if night["seq"] else live
        status = night["status"]
        table.add_row(
            night["as_of"],
            figure(night["rows"]),
            figure(night["quarantined"]),
            night["challenger"] or "",
            figure(night["challenger_score"]),
            figure(night["champion_score"]),
            f"[{COLOURS[status]}]{status}[/]",
            live,
        )
    console.print(table)
    for night in nights:
        for reason in night["reasons"]:
            console.print(f"{night['as_of']}: {reason}")


def show_leaderboard(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row a candidate, best first."""
    measured = [row for row in rows if "failed" not in row]
    if measured:
        names = [name for name in measured[0] if "@" in name]
        costs = ["seconds", "peak_megabytes", "milliseconds", "megabytes"]
        headings = ["train s", "peak MB", "ms a viewer", "MB"]
        table = Table("candidate", names[0], "95 % interval", *names[1:], *headings)
        for row in measured:
            interval = f"{row['low']:.4f} to {row['high']:.4f}"
            figures = [f"{row[name]:.4f}" for name in names]
            table.add_row(row["candidate"], figures[0], interval, *figures[1:], *(f"{row[cost]:.1f}" for cost in costs))
        table.title = f"{measured[0]['viewers']} viewers, split {measured[0]['split_digest'][:12]}"
        console.print(table)
    for row in rows:
        if "failed" in row:
            console.print(f"[yellow]candidate {row['candidate']} failed:[/] {row['failed']}")


def show_recommended(console: Console, answer: Mapping[str, Any]) -> None:
    """The list, best first."""
    if answer["reason"] == "popular":
        console.print(f"[yellow]Viewer {answer['user']} is unknown to the live release: the popular list.[/]")
    table = Table("#", "video", "title", "score", title=f"Viewer {answer['user']}, release {answer['release'][:12]}")
    for rank, video in enumerate(answer["videos"], start=1):
        table.add_row(str(rank), str(video["video_id"]), video.get("title") or "", f"{video['score']:.4f}")
    console.print(table)


def show_releases(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """The ledger, oldest first."""
    table = Table("entry", "action", "release", "model version", "at", "by", "reason")
    for entry in entries:
        fields = (entry["seq"], entry["action"], entry["release"][:12], entry["model_version"], entry["at"][:19])
        table.add_row(*(figure(value) for value in fields), entry["by"], entry["reason"])
    console.print(table)


def show_manifest(console: Console, release: Mapping[str, Any]) -> None:
    """A release: facts, parts, verdict."""
    manifest = release["manifest"]
    facts = {name: manifest[name] for name in ("name", "candidate", "as_of", "code", "space", "verdict")}
    show_fields(console, {"release": release["release"], "live": "yes" if release["live"] else "no"} | facts)
    parts = Table("part", "bytes", "sha-256")
    for name, part in manifest["parts"].items():
        parts.add_row(name, f"{part['bytes']:,}", part["sha256"][:16])
    checks = Table("check", "challenger", "champion", "bound", "", "reason")
    for check in release["verdict"]["checks"]:
        values = (figure(check[name]) for name in ("challenger", "champion", "bound"))
        checks.add_row(check["name"], *values, "[green]✓[/]" if check["passed"] else "[red]✗[/]", check["reason"])
    console.print(parts, checks)
    show_releases(console, release["entries"])
