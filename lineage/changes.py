"""What is different between two releases: data, parameters, code, packages, metrics."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.errors import BadInput
from infra.git import git
from lineage.differences import tree_differences
from lineage.manifest import Manifest

TABLES = ("data/accepted/", "data/quarantine/")


@dataclass(frozen=True)
class Side:
    """One of the two releases.

    Attributes:
        release: its id.
        manifest: its facts.
        record: its folder `record/`; None where its files are gone.
        landed: the landed files of a night that made it.
    """

    release: str
    manifest: Manifest
    record: Path | None
    landed: Sequence[Mapping[str, Any]]


def changes(before: Side, now: Side, *, repository: Path) -> dict[str, Any]:
    """What is different in `now`, as plain JSON types.

    Args:
        before: the earlier release.
        now: the later one.
        repository: the git checkout that holds the commits of their code.

    Returns:
        `before`: its id, and `gone`: its files are no longer there; `landed`: files `added` and `removed`, and the
        `days` that are new, gone or come from another file; `packages`; `code`: commits and changed files, `unknown`
        where the repository does not hold both; and, empty where the files of either are gone: `rows` of the
        snapshot's tables, `params` by dotted key, `metrics`. Each difference is `what`, `recorded` before, and `now`.
    """
    return {
        "before": {"release": before.release, "gone": before.record is None},
        "landed": _landed(before.landed, now.landed),
        "packages": _tree(before.manifest.environment.packages, now.manifest.environment.packages),
        "code": _code(before.manifest.code, now.manifest.code, repository),
        "rows": _rows(before, now),
        "params": _params(before, now),
        "metrics": _metrics(before, now),
    }


def _landed(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    files = [{part["file"]: part for part in side} for side in (before, now)]
    return {
        "added": [_part(files[1][file]) for file in files[1] if file not in files[0]],
        "removed": [_part(files[0][file]) for file in files[0] if file not in files[1]],
        "days": _days(*({day: part["file"] for part in side for day in part["days"]} for side in (before, now))),
    }


def _days(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    """Days whose events came or went, or now stand in another landed file, as a corrected day does."""
    return {
        "new": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "from another file": sorted(day for day in before.keys() & now.keys() if before[day] != now[day]),
    }


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in ("table", "sha256", "bytes", "first_rows", "days")}


def _code(before: str, now: str, repository: Path) -> dict[str, Any]:
    """Commits and changed files between two commits; neither where the repository does not hold both."""
    found: dict[str, Any] = {"before": before, "now": now, "commits": [], "files": [], "unknown": False}
    if before == now:
        return found
    try:
        commits = git("log", "--format=%H%x09%s", f"{before}..{now}", at=repository)
        files = git("diff", "--numstat", "--no-renames", before, now, at=repository)
    except BadInput:
        return found | {"unknown": True}
    named = {"commits": (("commit", "subject"), commits), "files": (("added", "removed", "path"), files)}
    return found | {
        what: [dict(zip(names, line.split("\t", len(names) - 1), strict=True)) for line in lines.splitlines()]
        for what, (names, lines) in named.items()
    }


def _rows(before: Side, now: Side) -> list[dict[str, Any]]:
    """Rows of each accepted and quarantined table, before and now."""
    counts = [_read(side, "snapshot.json").get("files", {}) for side in (before, now)]
    if not all(counts):
        return []
    tables = sorted(path for path in counts[0].keys() | counts[1].keys() if path.startswith(TABLES))
    return _pairs((path, *(side.get(path, {}).get("rows") for side in counts)) for path in tables)


def _params(before: Side, now: Side) -> list[dict[str, Any]]:
    if before.record is None or now.record is None:
        return []
    records = (before.record, now.record)
    return _tree(*(yaml.safe_load((record / "params.yaml").read_text(encoding="utf-8")) for record in records))


def _metrics(before: Side, now: Side) -> list[dict[str, Any]]:
    """Each metric of the challenger, as each was measured in its own night, on its own holdout."""
    judged = [_read(side, f"evaluate-{side.manifest.candidate}.json").get("metrics", {}) for side in (before, now)]
    if not all(judged):
        return []
    names = sorted(judged[0].keys() | judged[1].keys())
    return _pairs((name, *(side.get(name) for side in judged)) for name in names)


def _tree(before: object, now: object) -> list[dict[str, Any]]:
    return [difference.model_dump() for difference in tree_differences(before, now)]


def _pairs(rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(("what", "recorded", "now"), row, strict=True)) for row in rows]


def _read(side: Side, name: str) -> dict[str, Any]:
    if side.record is None:
        return {}
    content: dict[str, Any] = json.loads((side.record / name).read_text(encoding="utf-8"))
    return content
