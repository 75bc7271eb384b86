"""Backwards: from a release to the ledger, the verdict, the nights that made it, and every file that they read."""

import json
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from infra.git import run_ref
from infra.stores import ObjectStore
from lineage.intervals import intervals
from lineage.ledger import Ledger
from lineage.manifest import Manifest
from lineage.prefix import release_by_prefix
from lineage.releases import Releases
from lineage.retirement import retirement
from lineage.runs import RunRecord, records
from lineage.snapshots import indexed


def trace(release: str, *, ledger: Ledger, releases: Releases, store: ObjectStore) -> dict[str, Any]:
    """Everything that `release` came from, as plain JSON types.

    Args:
        release: its id, or the first characters of it; live, live once, or refused.
        ledger: of the recommender.
        releases: where its files are; every digest of them is checked.
        store: where the nights' records are.

    Returns:
        `release`, `live`, `retired`; `ended`: how it was retired (`Retirement.as_row`), None when it was not;
        `entries`: its ledger entries with `until` and `until_seq`; `manifest`: its facts; `nights`: the record of each
        night that made it, newest first, with `ref`, `mlflow_run` (the tag `nightreel.key` of its run in MLflow) and
        `indexed`; and, None for a retired release, whose files are gone: `verdict`, `stages` (DVC's, the last one
        first) and `snapshot` (each file's digest, size and rows).

    Raises:
        BadInput: no release or several have such an id.
        Refused: the release is damaged.
    """
    lives, nights = intervals(ledger.entries()), records(store, ledger.name)
    known = (*lives, *(night.release for night in nights if night.release))
    found = release_by_prefix(release, known, where=f"of {ledger.name}")
    ended = retirement(store, found)
    record = None if ended else releases.open(found) / "record"
    there = indexed(store, ledger.name)
    return {
        "release": found,
        "name": ledger.name,
        "live": any(life.until is None for life in lives.get(found, [])),
        "retired": ended is not None,
        "ended": ended and ended.as_row(),
        "entries": [life.as_row() for life in lives.get(found, [])],
        "manifest": _facts(releases.manifest(found)),
        "verdict": record and json.loads((record / "verdict.json").read_text(encoding="utf-8")),
        "nights": [_night(one, indexed=one.snapshot in there) for one in reversed(nights) if one.release == found],
        "stages": record and _stages(record / "dvc.lock"),
        "snapshot": record and json.loads((record / "snapshot.json").read_text(encoding="utf-8"))["files"],
    }


def _facts(manifest: Manifest) -> dict[str, Any]:
    """The manifest without its parts, and without packages, which the nights' records list."""
    facts = manifest.model_dump(mode="json", exclude={"parts": True, "environment": {"packages"}})
    return facts | {"parts": len(manifest.parts), "bytes": sum(part.bytes for part in manifest.parts.values())}


def _night(night: RunRecord, *, indexed: bool) -> dict[str, Any]:
    found = {"ref": run_ref(night.run), "mlflow_run": night.run, "indexed": indexed}
    return night.model_dump(mode="json") | found


def _stages(lock: Path) -> list[dict[str, Any]]:
    """The stages of `dvc.lock` with digests of all that each read and wrote, each before those it depends on."""
    stages: dict[str, dict[str, Any]] = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    order = TopologicalSorter({name: _before(name, stages) for name in stages})
    return [_stage(name, stages[name]) for name in reversed(list(order.static_order()))]


def _stage(name: str, stage: Mapping[str, Any]) -> dict[str, Any]:
    return {"stage": name, "cmd": stage["cmd"], "params": stage.get("params", {})} | {
        side: [{key: file.get(key) for key in ("path", "md5", "size")} for file in stage.get(side, [])]
        for side in ("deps", "outs")
    }


def _before(name: str, stages: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The stages that write what `name` reads: the same file, one in its folder, or the folder around it."""
    read = [PurePosixPath(file["path"]) for file in stages[name].get("deps", [])]
    return {
        other
        for other, stage in stages.items()
        for written in (PurePosixPath(file["path"]) for file in stage.get("outs", []))
        if other != name and any(written.is_relative_to(path) or path.is_relative_to(written) for path in read)
    }
