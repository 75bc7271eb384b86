"""What a night has left in a project's home, read from the outside, and that nothing of it is still at work."""

import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stores import FolderStore
from lineage.ledger import Entry, Ledger
from lineage.releases import Releases


@dataclass(frozen=True)
class FinishedNight:
    """A night that ended well: its project, its DVC remote, what `retrain` printed, and the state it left."""

    project: Path
    remote: Path
    outcome: dict[str, Any]
    state: dict[str, Any]

    @property
    def home(self) -> Path:
        """The project's state folder."""
        return home_of(self.project)

    @property
    def checkout(self) -> Path:
        """The run's checkout."""
        return self.home / "runs" / str(self.outcome["run"]) / "checkout"


def home_of(project: Path) -> Path:
    """The state folder of `project`."""
    return project / ".nightreel"


def entries(home: Path, name: str = "files") -> list[Entry]:
    """The ledger, each entry checked against the one before it."""
    return list(Ledger(FolderStore(home / "store"), name).entries())


def serving(home: Path, release: str) -> dict[str, str]:
    """Digests of the parts of a release that answer viewers."""
    manifest = Releases(FolderStore(home / "store"), home / "releases").manifest(release)
    return {name: part.sha256 for name, part in manifest.parts.items() if not name.startswith("record/")}


def query(home: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of MLflow's own database, read behind its back; none while it is not made or is being written."""
    if not (home / "mlflow.db").exists():
        return []
    with closing(sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True)) as database:
        try:
            return database.execute(sql, values).fetchall()
        except sqlite3.OperationalError:
            return []


def alias(home: Path, name: str = "files") -> str | None:
    """The model version that MLflow's `champion` points to."""
    found = query(home, "select version from registered_model_aliases where alias = 'champion' and name = ?", name)
    return str(found[0][0]) if found else None


def versions(home: Path, name: str = "files") -> dict[str, str]:
    """Verdict by model version in MLflow."""
    rows = query(
        home, "select version, value from model_version_tags where key = 'nightreel.verdict' and name = ?", name
    )
    every = query(home, "select version from model_versions where name = ?", name)
    assert len(rows) == len(every), "a model version has no verdict"
    return {str(version): verdict for version, verdict in rows}


def mlflow_runs(home: Path, run: str) -> list[tuple[str, str]]:
    """Key and status of the MLflow runs of a night, its own and one a candidate, sorted."""
    return query(
        home,
        "select tags.value, runs.status from runs join tags on tags.run_uuid = runs.run_uuid "
        "where tags.key = 'nightreel.key' and tags.value like ? order by tags.value",
        f"{run}%",
    )


def state(project: Path, run: str) -> dict[str, Any]:
    """All that must be equal however often the night was killed."""
    home = home_of(project)
    return {
        "entries": [
            (entry.seq, entry.action, entry.model_version, entry.run, serving(home, entry.release))
            for entry in entries(home)
        ],
        "alias": alias(home),
        "versions": versions(home),
        "mlflow runs": mlflow_runs(home, run),
        "landings": sorted(path.name for path in (home / "landing/files/arrivals").iterdir()),
    }


def assert_at_rest(project: Path) -> None:
    """No step at work, no lock held, and the run's checkout as DVC and git want it."""
    assert processes_in(project) == {}
    assert [lock for lock in home_of(project).rglob("*lock") if lock.name in OUR_LOCKS and is_held(lock)] == []
    for run in (home_of(project) / "runs").iterdir():
        assert dvc(run / "checkout", "status", "--json").strip() == "{}"
        assert git(run / "checkout", "status", "--porcelain") == ""


OUR_LOCKS = ("lock", "step.lock", "git.lock")


def is_held(lock: Path) -> bool:
    """Whether a process holds the lock now."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def processes_in(folder: Path) -> dict[int, str]:
    """Command lines by id of the processes whose working directory lies in `folder`."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = process.joinpath("cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has just ended
    return {pid: line for pid, line in found.items() if line}


def dvc(checkout: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    """`dvc WORDS` as a person types it in `checkout`; what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return _run([sys.executable, "-m", "dvc", *words], checkout, {"PATH": path, **(env or {})})


def git(checkout: Path, *words: str) -> str:
    """`git WORDS` as a person types it; what it printed."""
    return _run(["git", *words], checkout, {})


def _run(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | dict(env))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def verdict_of(home: Path, run: str) -> dict[str, Any]:
    """The verdict that a run ended with."""
    found = json.loads((home / "runs" / run / "checkout/metrics/verdict.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def commands_run(home: Path, run: str) -> list[str]:
    """The steps of a run whose command was started and ended well, as often as they were, by the first end of each."""
    logs = sorted((home / "runs" / run / "log").iterdir(), key=lambda log: log.stat().st_mtime)
    said = [json.loads(line)["message"] for log in logs for line in log.read_text(encoding="utf-8").splitlines()]
    return [message.partition(": done in")[0] for message in said if ": done in" in message]
