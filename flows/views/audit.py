"""What the auditor's commands print."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from flows.views.verdict_page import figure
from lineage.moments import minute, span

SHORT = 12  # characters of a digest where people look; JSON has them all


def show_trace(console: Console, traced: Mapping[str, Any]) -> None:
    """A tree, the release at its root and the files of the source at its ends."""
    ended = traced["ended"] and f"[red]{escape(traced['ended']['state'])}[/]"
    state = ended or ("[green]live[/]" if traced["live"] else "not live")
    root = Tree(f"[bold]release {traced['release']}[/] of {escape(traced['name'])}, {state}")
    facts = traced["manifest"]
    root.add(escape(f"candidate {facts['candidate']}, data until {facts['as_of']}, {facts['parts']} files"))
    _add_entries(root, traced["entries"])
    _add_verdict(root, traced["verdict"])
    for night in traced["nights"]:
        _add_night(root, night)
    if not traced["nights"]:
        root.add("[yellow]no night's record tells of this release[/]")
    _add_stages(root, traced["stages"])
    _add_snapshot(root, traced["snapshot"])
    console.print(root)


def show_impact(console: Console, found: Mapping[str, Any]) -> None:
    """A line for each release that was reached, and in it one for each time that it was live."""
    query = found["query"]
    title = f"{query['kind']} {query['value']} in {found['name']}"
    if not found["nights"]:
        console.print(f"{escape(title)}: reached no snapshot, so no release.")
    else:
        console.print(_impact_table(found, title=title))
    for snapshot in found["unindexed"]:
        console.print(f"[yellow]snapshot {snapshot[:SHORT]} has no index, so the answer says nothing of it[/]")
    for release in found["unrecorded"]:
        console.print(f"[yellow]release {release[:SHORT]} has no night's record, so the answer says nothing of it[/]")


def _impact_table(found: Mapping[str, Any], *, title: str) -> Table:
    table = Table(title=escape(title), caption=_totals(found))
    for heading in ("data until", "run", "version", "release", "live from", "until"):
        table.add_column(heading, no_wrap=heading in ("data until", "version", "release"), overflow="fold")
    for release in found["releases"]:
        rows = [(_begun(life), _ended(life)) for life in release["intervals"]] or [(_never(release), "")]
        known = [release["as_of"], "\n".join(release["runs"]), ", ".join(release["model_versions"])]
        known.append(release["release"][:SHORT])
        for row in rows:
            table.add_row(*(escape(cell) for cell in known), *row)
            known = [""] * len(known)
    return table


def _totals(found: Mapping[str, Any]) -> str:
    counts = {
        "nights": len(found["nights"]),
        "snapshots": len(found["snapshots"]),
        "model versions": len(found["model_versions"]),
        "releases": len(found["releases"]),
        "live now": sum(release["live"] for release in found["releases"]),
    }
    return ", ".join(f"{what}: {count}" for what, count in counts.items())


def _begun(life: Mapping[str, Any]) -> str:
    action = f"[yellow]override, expires {life['expires']}[/]" if life["action"] == "override" else life["action"]
    return f"{minute(life['at'])} ({life['seq']}, {action})"


def _ended(life: Mapping[str, Any]) -> str:
    return f"{minute(life['until'])} ({life['until_seq']})" if life["until"] else "[green]live now[/]"


def _never(release: Mapping[str, Any]) -> str:
    why = "" if release["passed"] else ", the gate refused it"
    return f"never live{why}" + (f", {escape(release['ended']['state'])}" if release["ended"] else "")


def _add_entries(root: Tree, entries: Sequence[Mapping[str, Any]]) -> None:
    branch = root.add("ledger" if entries else "ledger: it was never live")
    for entry in entries:
        until = f"until entry {entry['until_seq']}, {minute(entry['until'])}" if entry["until"] else "live now"
        line = branch.add(f"entry {entry['seq']}, {entry['action']}, {minute(entry['at'])}, {until}")
        line.add(escape(f"by {entry['by']}: {entry['reason']}"))
        if entry["expires"]:
            line.add(f"[yellow]an override: it passed no gate; expires {entry['expires']}[/]")
        line.add(f"written after {_short(entry['previous']) or 'nothing: it is the first'}")


def _add_verdict(root: Tree, verdict: Mapping[str, Any] | None) -> None:
    if verdict is None:
        return
    word = "[green]passed[/]" if verdict["passed"] else "[red]refused[/]"
    branch = root.add(f"verdict: {escape(str(verdict['challenger']))} {word} against {verdict['against']}")
    for check in verdict["checks"]:
        mark = "[green]✓[/]" if check["passed"] else "[red]✗[/]"
        sides = [side for side in ("challenger", "champion", "bound") if check[side] is not None]
        compared = ", ".join(f"{side} {figure(check[side])}" for side in sides)
        said = f"{check['name']}: {check['reason']}" + (f" ({compared})" if compared else "")
        branch.add(f"{mark} {escape(said)}")


def _add_night(root: Tree, night: Mapping[str, Any]) -> None:
    branch = root.add(escape(f"night {night['run']}, {minute(night['at'])}"))
    branch.add(escape(f"model version {night['model_version']}, MLflow run with nightreel.key {night['mlflow_run']}"))
    branch.add(escape(f"run commit {night['commit']} ({night['ref']})"))
    branch.add(f"code commit {night['code']}" + ("" if night["clean"] else " [yellow]with uncommitted changes[/]"))
    branch.add(f"snapshot {night['snapshot']}" + ("" if night["indexed"] else " [yellow]without an index[/]"))
    landed = branch.add(f"{len(night['landed'])} landed files")
    for part in night["landed"]:
        _add_landed(landed, part)
    quarantine = branch.add(f"{sum(night['quarantined'].values()):,} faults in quarantine")
    for reason, count in night["quarantined"].items():
        quarantine.add(f"{count:,}  {escape(reason)}")
    branch.add(f"{len(night['packages'])} packages, listed by --json")


def _add_landed(branch: Tree, part: Mapping[str, Any]) -> None:
    rows = "" if part["first_rows"] is None else f", {part['first_rows']:,} rows at first"
    days = f", {span(part['days'])}" if part["days"] else ""
    arrived = f", landed {minute(part['landed_at'])}" if part["landed_at"] else ""
    file = branch.add(f"{part['table']} {_short(part['sha256'])}, {part['bytes']:,} bytes{rows}{days}{arrived}")
    for origin in part["origins"]:
        marks = f"sha-256 {_short(origin['sha256'])}" + (f", etag {origin['etag']}" if origin["etag"] else "")
        file.add(escape(f"{origin['uri']}, {origin['bytes']:,} bytes, {marks}"))


def _add_stages(root: Tree, stages: Sequence[Mapping[str, Any]] | None) -> None:
    if stages is None:
        return
    branch = root.add("stages, the last one first")
    for stage in stages:
        line = branch.add(f"[bold]{escape(stage['stage'])}[/]  {escape(stage['cmd'])}")
        code = [file for file in stage["deps"] if file["path"].endswith(".py")]
        read = [file for file in stage["deps"] if file not in code]
        for word, files in (("wrote", stage["outs"]), ("read", read)):
            for file in files:
                line.add(escape(f"{word} {file['path']}  md5 {file['md5']}"))
        line.add(f"ran {len(code)} files of code, listed by --json")


def _add_snapshot(root: Tree, files: Mapping[str, Mapping[str, Any]] | None) -> None:
    if files is None:
        return
    branch = root.add(f"{len(files)} files of the snapshot")
    for path, file in files.items():
        rows = "" if file["rows"] is None else f"{file['rows']:,} rows, "
        branch.add(escape(f"{path}: {rows}{file['bytes']:,} bytes, sha-256 {_short(file['sha256'])}"))


def _short(digest: str | None) -> str:
    return (digest or "")[:SHORT]
