"""The record of a night for lineage: what it read and what became of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.settings import Settings
from lineage.attestation import Origin
from lineage.canonical import utc_now
from lineage.manifest import SNAPSHOT_PART, Manifest, installed_packages
from lineage.runs import LandedFile, OriginFile, RunRecord
from tasks import paths
from tasks.arrivals import Arrivals
from tasks.bundle import write_snapshot
from tasks.landing import landing_folder
from tasks.stage import read_json


def judged_record(
    checkout: Path, manifest: Manifest, origin: Origin, *, passed: bool, model_version: str, settings: Settings
) -> RunRecord:
    """The record of the verdict that the run in `checkout` has come to."""
    facts = {
        "snapshot": manifest.parts[SNAPSHOT_PART].sha256,
        "packages": manifest.environment.packages,
        "candidate": manifest.candidate,
        "verdict": passed,
        "release": manifest.release,
        "model_version": model_version,
    }
    return _record(checkout, origin, manifest.code, facts, settings)


def unjudged_record(checkout: Path, origin: Origin, *, code: str, settings: Settings) -> RunRecord:
    """The record of the run in `checkout`, which came to what was live already, or what a person rolled back from."""
    facts = {
        "snapshot": write_snapshot(checkout, checkout.parent / Path(SNAPSHOT_PART).name),
        "packages": installed_packages(),
        "candidate": read_json(checkout / paths.INDEX_METRICS)["challenger"],
        "verdict": None,
        "release": None,
        "model_version": None,
    }
    return _record(checkout, origin, code, facts, settings)


def _record(checkout: Path, origin: Origin, code: str, facts: Mapping[str, Any], settings: Settings) -> RunRecord:
    landed = read_json(checkout / paths.LANDED)
    arrived = _arrival_times(landing_folder(settings, landed["name"]))
    return RunRecord(
        name=landed["name"],
        run=origin.run,
        commit=origin.commit,
        code=code,
        clean=origin.clean,
        as_of=landed["as_of"],
        landed=tuple(_landed_file(part, arrived) for part in landed["parts"]),
        quarantined=read_json(checkout / paths.VALIDATION_METRICS)["quarantined"],
        at=utc_now(),
        **facts,
    )


def _arrival_times(landing: Path) -> dict[str, tuple[str, int | None]]:
    """When each landed file arrived, and with how many rows of events."""
    return {
        part.file: (
            arrival.landed_at.isoformat(),
            sum(day.rows for day in part.days.values()) if part.table == "events" else None,
        )
        for arrival in reversed(Arrivals(landing).all())  # a file that is listed again came when it first did
        for part in arrival.parts
    }


def _landed_file(part: Mapping[str, Any], arrived: Mapping[str, tuple[str, int | None]]) -> LandedFile:
    landed_at, first_rows = arrived.get(part["file"], (None, None))
    return LandedFile(
        table=part["table"],
        file=part["file"],
        sha256=part["sha256"],
        bytes=part["bytes"],
        first_rows=first_rows,
        days=tuple(sorted(part["days"])),
        origins=tuple(OriginFile(**origin) for origin in part["origins"]),
        landed_at=landed_at,
    )
