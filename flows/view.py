"""What the commands print: tables where people look, JSON where programs read."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.verdict_page import COSTS, figure
from infra.git import run_ref
from lineage.moments import minute

Content = TypeVar("Content")
BESIDE_TITLE = 40  # characters of a line of recommendations that are not title
BESIDE_CANDIDATES, A_CANDIDATE = 24, 19  # widths of the leaderboard's headings and of a column, borders included
COLOURS = {"released": "green", "unchanged": "cyan", "waiting": "yellow", "refused": "red", "stopped": "yellow"}


def show(content: Content, render: Callable[[Console, Content], None], *, as_json: bool) -> None:
    """Print `content` with `render`, or as JSON."""
    if as_json:
        sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")
    else:
        render(Console(highlight=False, emoji=False), content)


def show_fields(console: Console, fields: Mapping[str, Any]) -> None:
    """One line a field."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value is not None:
            table.add_row(name, _cell(value))
    console.print(table)


def show_outcome(console: Console, outcome: Mapping[str, Any]) -> None:
    """How a night ended: status, figures, where to look."""
    status = outcome["status"]
    title = f"{outcome['name']}, night of {outcome['as_of']}"
    console.print(f"\n[bold {COLOURS.get(status, 'white')}]{status.upper()}[/]  {escape(title)}")
    compared = f"{figure(outcome['challenger_score'])}"
    if outcome["champion_score"] is not None:
        compared += f" (champion {figure(outcome['champion_score'])})"
    fields = {
        "challenger": f"{outcome['challenger']}, {outcome['primary']} {compared}",
        "rows": f"{outcome['rows']:,}, {outcome['quarantined']:,} in quarantine",
        "release": outcome["release"]
        and outcome["release"][:12] + (f", ledger entry {outcome['seq']}" if outcome["seq"] else ", not live"),
        "model version": outcome["model_version"],
        "waits for": outcome["until"]
        and f"approval until {minute(outcome['until'])} UTC: `nightreel approve "
        f"{outcome['model_version']} --reason TEXT` or `nightreel reject`",
        "run": f"{outcome['run']} (git ref {run_ref(outcome['run'])})",
        "data docs": outcome["docs"] and from_here(outcome["docs"]),
        "seconds": ", ".join(f"{step} {seconds:.1f}" for step, seconds in outcome["seconds"].items()),
    }
    show_fields(console, fields)
    for candidate, reason in outcome["failed_candidates"].items():
        console.print(f"[yellow]candidate {candidate} failed:[/] {escape(reason)}")
    if outcome["refresh"]:
        console.print(f"[bold]new videos[/]  {escape(outcome['refresh'])}")
    if outcome["override"]:
        console.print(f"[yellow]override:[/] {escape(outcome['override'])}")
    for reason in outcome["reasons"]:
        console.print(f"[red]✗[/] {escape(reason)}")


def show_findings(console: Console, findings: Sequence[Mapping[str, Any]]) -> None:
    """One line a finding."""
    for finding in findings:
        console.print(f"[bold]{finding['what']}[/]  {escape(finding['said'])}")
    if not findings:
        console.print("Nothing is asked for in MLflow, and all of the live model is there.")


def show_replay(console: Console, nights: Sequence[Mapping[str, Any]]) -> None:
    """One row a night."""
    primary = next((night["primary"] for night in nights if night["primary"]), "score")
    table = _table("day", "rows", "quarantined", "challenger", primary, "champion", "verdict", "live release")
    table.title = f"{len(nights)} nights"
    live = ""
    for night in nights:
        live = night["release"][:12] if night["seq"] else live
        status = night["status"]
        table.add_row(
            night["as_of"],
            _count(night["rows"]),
            _count(night["quarantined"]),
            night["challenger"] or "",
            figure(night["challenger_score"]),
            figure(night["champion_score"]),
            f"[{COLOURS[status]}]{status}[/]",
            live,
        )
    console.print(table)
    for night in nights:
        for reason in night["reasons"]:
            console.print(f"{night['as_of']}: {escape(reason)}")


def show_leaderboard(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """One column a candidate, best first, what it cost below; as many tables as the width asks for."""
    measured = [row for row in rows if "failed" not in row]
    fit = max((console.width - BESIDE_CANDIDATES) // A_CANDIDATE, 1)
    for start in range(0, len(measured), fit):
        console.print(_candidates(measured[start : start + fit]))
    for row in rows:
        if "failed" in row:
            console.print(f"[yellow]candidate {row['candidate']} failed:[/] {escape(row['failed'])}")


def _candidates(rows: Sequence[Mapping[str, Any]]) -> Table:
    first = rows[0]
    primary = first["primary"]
    others = [name for name in first if "@" in name and name != primary]
    table = _table("", *(row["candidate"] for row in rows))
    table.title = f"{first['viewers']:,} viewers, split {first['split_digest'][:12]}"
    table.add_row(primary, *(f"{row[primary]:.4f}" for row in rows), style="bold")
    between = (f"{row['low']:.4f} to {row['high']:.4f}" for row in rows)
    table.add_row(f"{first['confidence']:.0%} interval", *between, end_section=True)
    for name in others:
        table.add_row(name, *(f"{row[name]:.4f}" for row in rows), end_section=name == others[-1])
    for cost, heading in COSTS.items():
        table.add_row(heading, *(f"{row[cost]:.1f}" for row in rows), end_section=cost == list(COSTS)[-1])
    table.add_row("on the Pareto front", *("yes" if row["front"] else "" for row in rows))
    table.add_row("the challenger", *("yes" if row["challenger"] else "" for row in rows))
    return table


def show_recommended(console: Console, answer: Mapping[str, Any]) -> None:
    """The list, best first, each title on one line."""
    user = escape(answer["user"])
    if answer["reason"] == "popular":
        console.print(f"[yellow]Viewer {user} is unknown to the live release: the popular list.[/]")
    explained = any("because" in video for video in answer["videos"])
    columns = ("#", "video", "title", "score", *(["because of"] if explained else []))
    table = _table(*columns, wrapped=("video",))
    table.title = f"Viewer {user}, release {answer['release'][:12]}"
    room = max((console.width - BESIDE_TITLE) // (2 if explained else 1), 20)
    for rank, video in enumerate(answer["videos"], start=1):
        cells: list[Text | str] = [_on_one_line(video.get("title") or "", room), _cell(video["score"])]
        if explained:
            titles = (each.get("title") or str(each["video_id"]) for each in video["because"])
            cells.append(Text("\n").join(_on_one_line(title, room) for title in titles))
        table.add_row(str(rank), _cell(video["video_id"]), *cells, end_section=explained)
    table.caption = f"signed by {escape(answer['signature'])}"
    console.print(table)


def _on_one_line(title: str, room: int) -> Text:
    text = Text(" ".join(title.split()))
    text.truncate(room, overflow="ellipsis")
    return text


def show_releases(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """The ledger, oldest first."""
    table = _table("entry", "action", "release", "version", "at (UTC)", "by", "reason", wrapped=("by", "reason"))
    for entry in entries:
        action = f"override until {entry['expires']}" if entry["expires"] else entry["action"]
        fields = (entry["seq"], action, entry["release"][:12], entry["model_version"], minute(entry["at"]))
        ended = f"\n[red]{_cell(entry['ended'])}[/]" if entry.get("ended") else ""
        table.add_row(*(_cell(value) for value in (*fields, entry["by"])), _cell(entry["reason"]) + ended)
    console.print(table)


def show_manifest(console: Console, release: Mapping[str, Any]) -> None:
    """A release: facts, parts, verdict."""
    manifest = release["manifest"]
    facts = {
        "release": release["release"],
        "live": "yes" if release["live"] else "no",
        "recommender": manifest["name"],
        "candidate": manifest["candidate"],
        "data until": manifest["as_of"],
        "code commit": manifest["code"],
        "embedding space": manifest["space"],
        "verdict sha-256": manifest["verdict"],
        "signed by": release["signature"],
    }
    show_fields(console, facts)
    parts = _table("part", "bytes", "sha-256")
    for name, part in manifest["parts"].items():
        parts.add_row(escape(name), f"{part['bytes']:,}", part["sha256"][:16])
    checks = _table(
        "check", "challenger", release["verdict"]["against"], "bound", "", "reason", wrapped=("check", "reason")
    )
    for check in release["verdict"]["checks"]:
        values = (_cell(check[name]) for name in ("name", "challenger", "champion", "bound"))
        checks.add_row(*values, "[green]✓[/]" if check["passed"] else "[red]✗[/]", escape(check["reason"]))
    console.print(parts, checks)
    show_releases(console, release["entries"])


def _table(*headings: str, wrapped: Sequence[str] = ()) -> Table:
    """A table whose cells stay on one line, but for the columns `wrapped`."""
    table = Table()
    for heading in headings:
        folds = heading in wrapped
        table.add_column(heading, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    return table


def _cell(value: object) -> str:
    """A value as `figure` writes it; square brackets in it are no markup."""
    return escape(figure(value))


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def from_here(path: str) -> str:
    """`path`, from the current folder where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
