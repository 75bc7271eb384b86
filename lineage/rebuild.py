"""A clean clone of one commit, and the night's steps run in it by its own `dvc.yaml`, with nothing found in a cache."""

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.errors import BadInput, Refused
from infra.git import BRING_RUNS, git
from infra.locks import locked
from infra.log import failure_in
from infra.orphans import owner_variable

# Defaults belong to the code, so the clone's own code fills them in.
RESOLVE_PARAMS = (
    "import json, pathlib, tasks.params as p; "
    "print(json.dumps(p.load_params(pathlib.Path('params.yaml')).model_dump(mode='json')))"
)
RECORDED = ("data", "metrics")  # what a run leaves; only `data/landed.json` of it was there before

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clone:
    """A checkout that is nobody's, in `folder`, at `commit`."""

    folder: Path
    commit: str

    @property
    def path(self) -> Path:
        """Its working tree."""
        return self.folder / "clone"

    def params(self) -> dict[str, Any]:
        """The parameters of its commit, defaults filled in.

        Raises:
            BadInput: its code does not accept its `params.yaml`.
        """
        words = [sys.executable, "-c", RESOLVE_PARAMS]
        done = subprocess.run(
            words, cwd=self.path, env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise BadInput(f"The parameters of commit {self.commit[:12]} cannot be read: {last}")
        params: dict[str, Any] = json.loads(done.stdout)
        return params

    def run(self, stage: str, candidate: str = "") -> None:
        """Run a stage's command from the clone's `dvc.yaml`, for `candidate` where it is a stage of one.

        Raises:
            NightreelError: what the step itself said when it failed, or that it died without a word.
        """
        step = f"{stage}@{candidate}" if candidate else stage
        said = self._logs / f"{step}.jsonl"
        command = self._command(stage, candidate)
        log.info("%s ...", step)
        started = time.perf_counter()
        # standard output is this process's answer, so a step's goes to where people look
        done = subprocess.run(command, cwd=self.path, env=self._environment(), stdout=sys.stderr, check=False)
        if done.returncode:
            words = f"Step {step} failed in the clean clone: {_defect_in(said) or f'exit {done.returncode}'}"
            raise failure_in(said, start=0) or Refused(words)
        log.info("%s: %.1f s", step, time.perf_counter() - started)

    @property
    def _logs(self) -> Path:
        return self.folder / "log"

    def _command(self, stage: str, candidate: str) -> list[str]:
        stages = yaml.safe_load((self.path / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        if stage not in stages:
            raise BadInput(f"dvc.yaml of commit {self.commit[:12]} has no stage {stage}.")
        words = shlex.split(stages[stage]["cmd"].replace("${item.candidate}", candidate))
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    def _environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.path), "NIGHTREEL_LOGS": str(self._logs)}
        return os.environ | own | owner_variable(self.folder / "step.lock")


@contextmanager
def clean_clone(repository: Path, commit: str, folder: Path) -> Iterator[Clone]:
    """The git repository's `commit` in a clone of its own below `folder`, without what a run had left; removed after.

    Raises:
        BadInput: the repository has no such commit.
    """
    commit = resolve(repository, commit)
    with locked(folder.with_name(f"{folder.name}.lock")):
        shutil.rmtree(folder, ignore_errors=True)  # a killed one's
        clone = Clone(folder, commit)
        (folder / "log").mkdir(parents=True)
        try:
            git("clone", "-q", "--shared", "--no-checkout", str(repository), str(clone.path), at=folder)
            git("checkout", "-q", "--detach", commit, at=clone.path)
            for left in RECORDED:
                shutil.rmtree(clone.path / left, ignore_errors=True)
            yield clone
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _defect_in(path: Path) -> str | None:
    """The last line of the last trace in a step's log."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    traces = [said["trace"] for said in map(json.loads, lines) if "trace" in said]
    return traces[-1].splitlines()[-1] if traces else None


def resolve(repository: Path, commit: str) -> str:
    """The full id of `commit`. Raises `BadInput` when the repository does not have it."""
    try:
        return git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", at=repository)
    except BadInput:
        raise BadInput(
            f"The git repository {repository} has no commit {commit}. A run's commit comes with {BRING_RUNS}."
        ) from None
