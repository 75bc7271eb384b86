"""Write what a learner left into MLflow, as a version of a registered model with its own verdict."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.registry import Registry
from tasks.register import numbers
from tasks.stage import read_json

ARTIFACT = "encoder"


def register_encoder(folder: Path, metrics: Path, registry: Registry, *, run: str, name: str) -> str:
    """Make what a learner left a version of the registered model of `registry`, or find the one made before.

    Args:
        folder: weights and config.
        metrics: what `learn` wrote.
        registry: of the model `NAME-of-RECOMMENDER` (`registered_name`).
        run: the night.
        name: of the learner.

    Returns:
        The model version's number.

    Raises:
        Unreachable: MLflow did not carry it out.
    """
    facts = read_json(metrics)
    tags = {
        "nightreel.kind": "encoder",
        "nightreel.learner": name,
        "nightreel.verdict": "passed" if facts["passed"] else "refused",
        "nightreel.digest": str(facts.get("digest", "")),
        "nightreel.files": _folder_digest(folder),
    }
    key = f"{run}/{name}"
    found = registry.version_of(key)
    if found is not None:
        registry.tag_version(str(found.version), tags)
        return str(found.version)
    logged = registry.run(key, title=f"{run} {name}", tags={"nightreel.kind": "encoder"})
    if not registry.is_finished(logged):
        _log(registry, logged, folder, metrics, facts)
    return registry.create_version(key, source=f"runs:/{logged}/{ARTIFACT}", run=logged, tags=tags)


def registered_name(name: str, recommender: str) -> str:
    """Of the registered model that the learner `name` of a recommender makes versions of."""
    return f"{name}-of-{recommender}"


def _log(registry: Registry, run: str, folder: Path, metrics: Path, facts: Mapping[str, Any]) -> None:
    values = [*numbers({"measure": facts.get("measure", {}), "baseline": facts.get("baseline", {})})]
    for step, epoch in enumerate(facts.get("epochs", []), start=1):
        values += [(f"epoch.{metric}", value, step) for metric, value, _ in numbers(epoch)]
    registry.log(run, params={"learner": facts["learner"], "seed": facts["seed"]}, metrics=values)
    registry.log_files(run, folder, ARTIFACT)
    registry.log_files(run, metrics, "verdict")
    registry.finish(run)


def _folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
