"""The record of a night for lineage: what it read and what became of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.settings import Settings
from lineage.attestation import Origin
from lineage.manifest import Manifest
from lineage.runs import LandedFile, OriginFile, RunRecord
from tasks import paths
from tasks.arrivals import Arrivals
from tasks.bundle import SNAPSHOT
from tasks.landing import landing_folder
from tasks.stage import read_json


def run_record(
    checkout: Path, manifest: Manifest, origin: Origin, *, passed: bool, model_version: str, settings: Settings
) -> RunRecord:
    """The record of the verdict that the run in `checkout` has come to."""
    landed = read_json(checkout / paths.LANDED)
    arrived = _arrival_times(landing_folder(settings, manifest.name))
    return RunRecord(
        name=manifest.name,
        run=origin.run,
        commit=origin.commit,
        code=manifest.code,
        clean=origin.clean,
        as_of=manifest.as_of,
        snapshot=manifest.parts[str(SNAPSHOT)].sha256,
        landed=tuple(_landed_file(part, arrived) for part in landed["parts"]),
        quarantined=read_json(checkout / paths.VALIDATION_METRICS)["quarantined"],
        packages=manifest.environment.packages,
        candidate=manifest.candidate,
        verdict=passed,
        release=manifest.release,
        model_version=model_version,
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
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
