"""Put together what goes live: the challenger's parts and the record of how it came to be."""

import platform
import shutil
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import JsonValue

from infra.errors import BadInput, Refused
from lineage.canonical import sha256_of_file
from lineage.manifest import SNAPSHOT_PART, Environment, Facts, Manifest, build, installed_packages
from models.embedded import VIDEOS
from tasks import paths
from tasks.encoded import CATALOGUE
from tasks.params import Params
from tasks.prepared import Prepared
from tasks.rerank import PART
from tasks.stage import read_json, write_json

LOCK = Path("requirements.lock")
RECORD = (
    paths.LANDED,
    paths.VALIDATION_METRICS,
    paths.PREPARE_METRICS,
    paths.INDEX_METRICS,
    paths.CHAMPION_METRICS,
    paths.VERDICT,
    Path("params.yaml"),
    Path("dvc.lock"),
)


def bundle(checkout: Path, out: Path, *, params: Params, code: str) -> Manifest:
    """Copy the challenger's release from a run's `checkout` into the folder `out` and describe it.

    Layout: `model/`, `index/`, `vocabulary.parquet`, `viewers.parquet`, `sequences/`, `rerank.json` where lists are
    re-ranked, and `record/` with landed files, the snapshot's files by digest, validation, evaluation, verdict,
    parameters and `dvc.lock`.

    Args:
        code: the commit whose code the run executed.

    Raises:
        Refused: a part is missing, so there is nothing to release.
    """
    made = read_json(checkout / paths.INDEX_METRICS)
    challenger = str(made["challenger"])
    shutil.rmtree(out, ignore_errors=True)
    try:
        _copy_parts(checkout, out, challenger)
    except FileNotFoundError as error:
        raise Refused(
            f"A release needs all its parts; {error.filename} of candidate {challenger} is missing"
        ) from error
    write_snapshot(checkout, out / SNAPSHOT_PART)
    facts = Facts(
        name=str(params.name),
        candidate=challenger,
        space=str(made["space"]),
        as_of=str(read_json(checkout / paths.LANDED)["as_of"]),
        code=code,
        verdict=sha256_of_file(checkout / paths.VERDICT),
        params=sha256_of_file(checkout / "params.yaml"),
        data=_data(checkout),
        environment=_environment(checkout),
    )
    return build(out, facts)


def serving_parts(checkout: Path, challenger: str) -> dict[str, Path]:
    """What answers viewers: name in the release to file in the run's checkout. The record is no part of it.

    A model that embeds videos by their content goes live with the whole catalogue. Tags go with any, and so does what
    learnt them, for the videos that a refresh brings.
    """
    prepared = checkout / paths.PREPARED
    folders = {
        "model": checkout / paths.CANDIDATES / challenger,
        "index": checkout / paths.INDEX,
        "sequences": prepared / "sequences",
    } | ({"tagger": checkout / paths.TAGGER} if (checkout / paths.TAGGER).exists() else {})
    parts = {f"{name}/{file.name}": file for name, folder in folders.items() for file in sorted(folder.iterdir())}
    # Part of no index: a refresh makes a new index and keeps this.
    reranking = {PART: parts.pop(f"index/{PART}")} if f"index/{PART}" in parts else {}
    watched = prepared / "videos.parquet"
    vocabulary = checkout / paths.ENCODED / CATALOGUE if f"model/{VIDEOS}" in parts else watched
    tags = checkout / paths.TAGS
    tagged = {tags.name: tags} if tags.exists() else {}
    return (
        parts | tagged | reranking | {"vocabulary.parquet": vocabulary, "viewers.parquet": prepared / "viewers.parquet"}
    )


def serves_the_same(checkout: Path, challenger: str, live: Manifest) -> bool:
    """Whether the live release already answers viewers with exactly these bytes."""
    mine = {name: sha256_of_file(path) for name, path in serving_parts(checkout, challenger).items()}
    theirs = {name: part.sha256 for name, part in live.parts.items() if not name.startswith("record/")}
    return mine == theirs


def _copy_parts(checkout: Path, out: Path, challenger: str) -> None:
    record = (*RECORD, paths.EVALUATE_METRICS / f"{challenger}.json", paths.TRAIN_METRICS / f"{challenger}.json")
    parts = serving_parts(checkout, challenger) | {f"record/{_flat(file)}": checkout / file for file in record}
    for name, source in parts.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / name)


def write_snapshot(checkout: Path, out: Path) -> str:
    """Write the manifest of a run's validated data to `out`; its SHA-256, which names the snapshot.

    It holds SHA-256, size and rows (None where it is no table) of each file.
    """
    write_json(out, {"files": _files(checkout)})
    return sha256_of_file(out)


def _files(checkout: Path) -> dict[str, dict[str, JsonValue]]:
    files = [
        file
        for folder in (paths.ACCEPTED, paths.QUARANTINE, paths.PREPARED)
        for file in sorted((checkout / folder).rglob("*"))
        if file.is_file()
    ]
    return {
        file.relative_to(checkout).as_posix(): {
            "sha256": sha256_of_file(file),
            "bytes": file.stat().st_size,
            "rows": pq.read_metadata(file).num_rows if file.suffix == ".parquet" else None,
        }
        for file in files
    }


def _flat(file: Path) -> str:
    """`metrics/train/ease.json` as `train-ease.json`: a record is one folder."""
    return "-".join(file.parts[1:] or file.parts)


def _data(checkout: Path) -> dict[str, JsonValue]:
    """What the model was trained on: the landed files by digest, and the split."""
    prepared = Prepared(checkout / paths.PREPARED).facts
    return {"landed": sha256_of_file(checkout / paths.LANDED), "split": str(prepared["split_digest"])}


def _environment(checkout: Path) -> Environment:
    lock = checkout / LOCK
    if not lock.exists():
        raise BadInput(f"A release names its environment by the digest of {LOCK}, which is not in the checkout.")
    return Environment(lock=sha256_of_file(lock), python=platform.python_version(), packages=installed_packages())
