"""The newest night on this machine whose data can be used again."""

from pathlib import Path

import yaml

from infra.errors import BadInput
from infra.settings import Settings
from tasks import paths
from tasks.params import Params, load_params
from tasks.stage import read_json


def newest_night(settings: Settings, params: Params, *, encoded: bool) -> Path | None:
    """The checkout of the newest run of `params.name` that has prepared data by these parameters; None without one.

    Args:
        settings: where runs are kept.
        params: the sections that decide what is prepared must be the run's own.
        encoded: whether it must have content vectors as well.
    """
    runs = (settings.home_dir / "runs").glob("*/checkout")
    return max((run for run in runs if _is_fit(run, params, encoded=encoded)), key=_age, default=None)


def _is_fit(run: Path, params: Params, *, encoded: bool) -> bool:
    lock = run / "dvc.lock"  # names a stage once all of what it made is in place
    if not lock.exists() or read_json(run / paths.LANDED)["name"] != params.name:
        return False
    made = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    try:
        its = load_params(run / "params.yaml")
    except BadInput:  # of another version of this code
        return False
    if encoded and not (made.keys() >= {"encode"} and its.content_candidates and its.encode == params.encode):
        return False
    there = (run / paths.PREPARED / "prepared.json").exists()  # an erasure removes it
    return "prepare" in made and there and (its.seed, its.prepare) == (params.seed, params.prepare)


def _age(run: Path) -> tuple[str, float]:
    return str(read_json(run / paths.LANDED)["as_of"]), (run / paths.PREPARE_METRICS).stat().st_mtime
