"""Write a night into MLflow: a run with a child for each candidate, and the challenger as a model version."""

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from infra.registry import Registry
from lineage.manifest import Manifest
from tasks import paths
from tasks.stage import read_json

log = logging.getLogger(__name__)

ROOMS = ("tasks", "models", "lineage", "infra")
SERVED_WITH = (
    "faiss-cpu",
    "keras",
    "numpy",
    "pandas",
    "polars",
    "pydantic-settings",
    "safetensors",
    "scipy",
    "tensorflow",
)


def register(checkout: Path, bundle: Path, registry: Registry, *, run: str, tags: Mapping[str, str]) -> str:
    """Log the night `run` and register its challenger, or find what was logged before.

    Args:
        checkout: the run's finished checkout.
        bundle: the challenger's release folder.
        tags: of the model version: run commit, data digests, verdict, release.

    Returns:
        The model version's number.

    Raises:
        Unreachable: MLflow did not carry it out.
    """
    night = registry.run(run, title=run, tags={"nightreel.kind": "night"})
    if not registry.is_finished(night):
        _log_night(checkout, registry, night)
        for candidate in sorted(path.stem for path in (checkout / paths.EVALUATE_METRICS).glob("*.json")):
            _log_candidate(checkout, registry, candidate, key=f"{run}/{candidate}", parent=night)
    made = _version(bundle, registry, run=run, night=night, candidate=tags["nightreel.candidate"], tags=tags)
    registry.log_files(night, checkout / paths.VERDICT, "verdict")
    registry.finish(night)
    return made


def _log_night(checkout: Path, registry: Registry, night: str) -> None:
    landed = read_json(checkout / paths.LANDED)
    registry.log_inputs(night, {f"{part['table']}-{part['sha256'][:8]}": _origin(part) for part in landed["parts"]})
    params = yaml.safe_load((checkout / "params.yaml").read_text(encoding="utf-8"))
    registry.log(night, params=dict(flat(params)), metrics=list(numbers(read_json(checkout / paths.PREPARE_METRICS))))
    registry.log_files(night, checkout / "metrics", "metrics")
    registry.log_files(night, checkout / paths.DOCS, "data-docs")


def _origin(part: Mapping[str, Any]) -> tuple[str, str]:
    return part["sha256"], "; ".join(origin["uri"] for origin in part["origins"])[:500]


def _log_candidate(checkout: Path, registry: Registry, candidate: str, *, key: str, parent: str) -> None:
    run = registry.run(key, title=candidate, tags={"nightreel.kind": "candidate"}, parent=parent)
    if registry.is_finished(run):
        return
    trained = read_json(checkout / paths.TRAIN_METRICS / f"{candidate}.json")
    judged = read_json(checkout / paths.EVALUATE_METRICS / f"{candidate}.json")
    params = yaml.safe_load((checkout / "params.yaml").read_text(encoding="utf-8"))["train"].get(candidate, {})
    epochs = trained.pop("epochs", [])
    metrics = [*numbers(judged), *numbers(trained)]
    for step, epoch in enumerate(epochs, start=1):
        metrics += [(f"epoch.{name}", value, step) for name, value, _ in numbers(epoch)]
    registry.log(run, params=dict(flat(params)), metrics=metrics)
    registry.log_files(run, checkout / paths.EVALUATION / candidate, "evaluation")
    registry.finish(run)


def _version(bundle: Path, registry: Registry, *, run: str, night: str, candidate: str, tags: Mapping[str, str]) -> str:
    found = registry.version_of(run)
    if found is not None:
        registry.tag_version(str(found.version), tags)
        return str(found.version)
    source = registry.log_model(night, **served(bundle, candidate))
    return registry.create_version(run, source=source, run=night, tags=tags)


def version_tags(manifest: Manifest, *, commit: str, run: str, passed: bool) -> dict[str, str]:
    """Where the model version of a release comes from."""
    return {
        "nightreel.candidate": manifest.candidate,
        "nightreel.commit": commit,
        "nightreel.release": manifest.release,
        "nightreel.run": run,
        "nightreel.verdict": "passed" if passed else "refused",
        **{f"nightreel.data.{name}": str(digest) for name, digest in manifest.data.items()},
    }


def served(bundle: Path, candidate: str) -> dict[str, Any]:
    """What `mlflow.pyfunc.log_model` is given: code instead of a pickle, a signature, an input example."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    columns = {"user_id": "string", "rank": "long", "video_id": "string", "score": "double"}
    inputs, outputs = (
        Schema([ColSpec("string", "user_id")]),
        Schema([ColSpec(kind, name) for name, kind in columns.items()]),
    )
    root = Path(__file__).parent.parent
    return {
        "name": "recommender",
        "python_model": str(root / "tasks/pyfunc.py"),
        "artifacts": {"release": str(bundle)},
        "model_config": {"candidate": candidate},
        "code_paths": [str(root / room) for room in ROOMS],
        "pip_requirements": [f"{name}=={version(name)}" for name in SERVED_WITH],
        "signature": ModelSignature(inputs, outputs, ParamSchema([ParamSpec("k", "long", 10)])),
        "input_example": pd.DataFrame({"user_id": ["1"]}),
    }


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """`{"a": {"b": 1}}` as `("a.b", 1)`."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def numbers(tree: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """The numbers in a tree as MLflow metrics at step 0: `(dotted name, value, 0)`."""
    for name, value in flat(tree):
        if isinstance(value, int | float):
            yield name.removeprefix("metrics."), float(value), 0
