"""Rebuild a release in a clean clone and compare it bit by bit with what was recorded."""

import json
import logging
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.errors import NightreelError, Refused
from infra.git import git, show
from lineage.books import Books
from lineage.canonical import sha256, sha256_of_file
from lineage.differences import Difference, FileDifference, file_difference, tree_differences
from lineage.manifest import digests, installed_packages
from lineage.rebuild import Clone, clean_clone
from lineage.recorded import CANDIDATES, PREPARED, SNAPSHOT, Recorded, made_by, trained_release
from lineage.reproduction import Candidate, Metric, Reproduction, Side
from lineage.tensors import TensorDifference, compare_files, is_tensor_file

CODE = ("flows", "tasks", "models", "lineage", "infra", "dvc.yaml", ":(glob)*.py")
LOCK = "requirements.lock"
INDEX = "data/index"
LANDED = "data/landed.json"
FACTS = "index.json"

log = logging.getLogger(__name__)


def reproduce(prefix: str, books: Books, *, repository: Path, commit: str | None = None) -> Reproduction:
    """Rebuild the release whose id starts with `prefix` from its recorded data, and compare.

    Args:
        prefix: of the release's id. Of a refreshed one the release is rebuilt whose training gave its model.
        books: where releases, ledger and settings are.
        repository: git directory that has the run's commit.
        commit: code and parameters of another commit instead: would they give the same model?

    Raises:
        BadInput: there is no such release or commit.
        Refused: something recorded is damaged or nowhere to be found, so that nothing can be compared.
    """
    found, run_commit = made_by(prefix, books)
    release = trained_release(found, books)
    record = Recorded.open(release, run_commit, books, repository)
    with clean_clone(repository, commit or run_commit, books.settings.home_dir / "reproduce" / release[:12]) as clone:
        log.info("release %s in a clean clone of commit %s", release[:12], clone.commit[:12])
        params, aside = _params(record, clone), clone.folder / "aside"
        data = _bring(record, clone, aside)
        models = {name: record.model(name, clone.folder / "recorded") for name in record.candidates}
        data += [damage for _, damaged in models.values() for damage in damaged]
        prepared = _prepare(record, clone, data, aside)
        failed = _train(clone, params)
        names = list(dict.fromkeys([*_stages_by_candidate(record.params), *_stages_by_candidate(params)]))
        return Reproduction(
            release=release,
            refreshed=None if found == release else found,
            name=record.manifest.name,
            run_commit=run_commit,
            commit=clone.commit,
            requested=commit is not None,
            environment=(*_environment(record, clone), *_devices(record, clone)),
            params=tuple(tree_differences(record.params, params)),
            code=tuple(_code(record, clone)),
            data=tuple(data),
            prepared=tuple(prepared),
            candidates=tuple(
                _candidate(name, record, clone, models[name][0] if name in models else None, failed) for name in names
            ),
            challenger=_challenger(record, clone),
            index=_compare(record.folder / "index", clone.path / INDEX, failed.get("index")),
        )


def _params(record: Recorded, clone: Clone) -> dict[str, Any]:
    """The clone's parameters. A run is named after its source where they give no name."""
    params = clone.params()
    return params | {"name": params.get("name") or record.manifest.name}


def _code(record: Recorded, clone: Clone) -> list[str]:
    """Files of code that differ between the code that ran and the clone."""
    return git("diff", "--name-only", record.manifest.code, clone.commit, "--", *CODE, at=clone.path).splitlines()


def _environment(record: Recorded, clone: Clone) -> list[Difference]:
    """Python, the requirements file and packages: the recorded ones against those of this process, which trains."""
    then = record.manifest.environment
    lock = clone.path / LOCK
    recorded = {"python": then.python, LOCK: then.lock, "package": then.packages}
    now = {
        "python": platform.python_version(),
        LOCK: sha256_of_file(lock) if lock.exists() else None,
        "package": installed_packages(),
    }
    return tree_differences(recorded, now)


def _devices(record: Recorded, clone: Clone) -> list[Difference]:
    """What each candidate was trained on, then and now."""
    found = []
    for name in record.candidates:
        then, now = record.trained(name), _noted(clone, f"train/{name}")
        found += [
            Difference(what=f"{what} of {name}", recorded=then[what], now=now[what])
            for what in ("device", "software")
            if what in then and what in now and then[what] != now[what]
        ]
    return found


def _bring(record: Recorded, clone: Clone, aside: Path) -> list[FileDifference]:
    """The snapshot into the clone, and the recorded preparation beside it; what is not as recorded."""
    found = [difference for out in SNAPSHOT for difference in record.data(out, clone.path, aside)]
    found += record.data(PREPARED, clone.folder / "recorded", aside)
    shutil.copyfile(record.folder / "record/landed.json", clone.path / LANDED)  # where encode finds media
    committed = show(record.commit, "dvc.lock", at=record.repository)
    if sha256(committed) != record.manifest.parts["record/dvc.lock"].sha256:
        found.append(FileDifference(file="dvc.lock", how="of the run's commit differs"))
    return found


def _prepare(record: Recorded, clone: Clone, data: Sequence[FileDifference], aside: Path) -> list[FileDifference]:
    """Prepare the snapshot again; what is not as recorded. `data`: what of the snapshot itself is not."""
    try:
        clone.run("prepare")
    except NightreelError as error:
        if not data:
            raise
        raise Refused(f"The snapshot cannot be prepared again: {'; '.join(map(str, data))}.") from error
    return _prepared(record, clone, aside)


def _prepared(record: Recorded, clone: Clone, aside: Path) -> list[FileDifference]:
    wanted = {file: digest for file, digest in record.snapshot.items() if file.startswith(f"{PREPARED}/")}
    made = {f"{PREPARED}/{file}": part.sha256 for file, part in digests(clone.path / PREPARED).items()}
    found = [FileDifference(file=file, how="was not made again") for file in sorted(wanted.keys() - made.keys())]
    found += [FileDifference(file=file, how="is not recorded") for file in sorted(made.keys() - wanted.keys())]
    for file in sorted(file for file in made.keys() & wanted.keys() if made[file] != wanted[file]):
        original = record.whole(file, aside / file)
        if original:
            found.append(file_difference(file, recorded=original, now=clone.path / file))
        else:
            found.append(FileDifference(file=file, how="differs, and no copy of the recorded file is left"))
    return found


def _stages_by_candidate(params: Mapping[str, Any]) -> dict[str, str]:
    """What the stages of each candidate are called behind `train` and `evaluate`."""
    groups = {"": "candidates", "-content": "content_candidates", "-ranker": "rankers"}
    return {name: kind for kind, group in groups.items() for name in params.get(group, [])}


def _train(clone: Clone, params: Mapping[str, Any]) -> dict[str, str]:
    """Every candidate, then the index; why some of these failed, by name."""
    failed: dict[str, str] = {}
    stages = _stages_by_candidate(params)
    after_encode = [name for name, kind in stages.items() if kind]
    try:
        if after_encode:
            clone.run("encode")
        if "-ranker" in stages.values():
            clone.run("regions")
    except NightreelError as error:
        failed = dict.fromkeys(after_encode, str(error))
    for name in (name for name in stages if name not in failed):
        try:
            clone.run(f"train{stages[name]}", name)
            clone.run(f"evaluate{stages[name]}", name)
        except NightreelError as error:
            failed[name] = str(error)
            log.warning("%s failed: %s", name, error)
    try:
        clone.run("index")
    except NightreelError as error:
        failed["index"] = str(error)
        log.warning("index failed: %s", error)
    return failed


def _candidate(name: str, record: Recorded, clone: Clone, model: Path | None, failed: Mapping[str, str]) -> Candidate:
    """One candidate's tensors and primary metric, then and now."""
    side = _compare(model, clone.path / CANDIDATES / name, failed.get(name))
    primary = str(record.params["evaluate"]["primary"])
    then = record.index["candidates"].get(name)
    now = _noted(clone, f"evaluate/{name}").get("metrics", {}).get(primary)
    return Candidate(name=name, model=side, metric=Metric(name=primary, recorded=then, rebuilt=now))


def _challenger(record: Recorded, clone: Clone) -> Difference | None:
    """The best candidate, where it is another one now."""
    then, now = record.manifest.candidate, _noted(clone, "index").get("challenger")
    return None if then == now else Difference(what="challenger", recorded=then, now=now)


def _noted(clone: Clone, metrics: str) -> dict[str, Any]:
    """A metrics file that a step left in the clone; empty where it left none."""
    path = clone.path / "metrics" / f"{metrics}.json"
    content: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return content


def _compare(recorded: Path | None, rebuilt: Path, failed: str | None) -> Side:
    """Every file of two folders: tensors as tensors, JSON by keys, anything else by bytes."""
    if recorded is None or not rebuilt.is_dir():
        return Side(recorded=recorded is not None, rebuilt=rebuilt.is_dir(), failed=failed)
    ours, theirs = ({file.name: file for file in folder.iterdir()} for folder in (recorded, rebuilt))
    count = 0
    tensors: list[TensorDifference] = []
    files: list[FileDifference] = []
    for name in sorted(ours.keys() & theirs.keys()):
        if is_tensor_file(ours[name]):
            counted, found = compare_files(ours[name], theirs[name])
            count, tensors = count + counted, tensors + found
        else:
            files += _compare_json(ours[name], theirs[name])
    files += [FileDifference(file=name, how="is missing") for name in sorted(ours.keys() - theirs.keys())]
    files += [FileDifference(file=name, how="is not recorded") for name in sorted(theirs.keys() - ours.keys())]
    return Side(
        recorded=True, rebuilt=True, failed=failed, tensors=count, differences=tuple(tensors), files=tuple(files)
    )


def _compare_json(recorded: Path, rebuilt: Path) -> list[FileDifference]:
    equal = recorded.read_bytes() == rebuilt.read_bytes()
    if equal or (recorded.name == FACTS and _facts(recorded) == _facts(rebuilt)):
        return []
    return [file_difference(recorded.name, recorded=recorded, now=rebuilt)]


def _facts(path: Path) -> dict[str, Any]:
    """An index's facts but for its embedding space: digests of weights and config, which are compared themselves."""
    facts: dict[str, Any] = json.loads(path.read_bytes())
    return {name: fact for name, fact in facts.items() if name != "space"}
