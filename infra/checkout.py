"""A run's own checkout: a git worktree with a shared DVC cache, so that two runs never meet in one tree.

Under `home/runs/RUN/`: `checkout/` the worktree, `lock` held by the process that works in it, `ready` written once the
worktree is whole, `log/STEP.jsonl` what a step said, `dvc/` DVC's notes on the worktree. A run is named by its inputs,
so the same inputs find the same folder again, and whatever a killed run had finished.
"""

import configparser
import hashlib
import json
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.git import git, run_ref, snapshot
from infra.locks import is_locked, locked
from infra.settings import Settings

GIT_SECONDS = 5.0  # none of a run's git commands takes as long
IN_USE = "in-use.lock"  # shared by whoever makes, searches or releases; `nightreel gc --apply` holds it alone
LEFT_OF_A_RUN = ("lock", "outcome.json")  # a replay reads the outcome


@dataclass(frozen=True)
class Inputs:
    """All that decides a run: code, parameters, data. `clean`: the code is the checkout's own HEAD, all committed."""

    root: Path
    commit: str
    params: str
    landed: str
    as_of: str
    clean: bool

    @classmethod
    def of(cls, root: Path, *, params: str, landed: str, as_of: str) -> "Inputs":
        """The inputs of a run from the checkout `root` as it is now."""
        commit = snapshot(root)
        return cls(root, commit, params, landed, as_of, clean=commit == git("rev-parse", "HEAD", at=root))

    @property
    def run(self) -> str:
        """The run's name: the night's date and a digest of everything that decides the result."""
        tree = git("rev-parse", f"{self.commit}^{{tree}}", at=self.root)
        key = json.dumps([tree, self.params, self.landed])
        return f"{self.as_of}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Checkout:
    """A run's folder while this process holds it."""

    root: Path
    folder: Path

    @property
    def run(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The worktree."""
        return self.folder / "checkout"

    @property
    def step_lock(self) -> Path:
        """Shared by the steps that are at work, which may outlive a killed run by a moment."""
        return self.folder / "step.lock"

    @property
    def gpu_lock(self) -> Path:
        """Held by the one process of the pool `gpu` that works on the run."""
        return self.folder / "gpu.lock"

    @property
    def logs(self) -> Path:
        """Where the run's steps log."""
        return self.folder / "log"

    def log(self, stage: str) -> Path:
        """What the DVC stage `stage` said, as JSON lines, over all times that it ran.

        It is named by the command: `train-content@twotower` and `train@ease` are both the command `train` of something.
        """
        step, at, item = stage.partition("@")
        return self.logs / f"{step.partition('-')[0]}{at}{item}.jsonl"

    @property
    def ref(self) -> str:
        """The git ref of the run's result."""
        return run_ref(self.run)

    def record(self, message: str) -> str:
        """Commit what the run has made and point the run's ref at it; the commit's id."""
        git("add", "-A", at=self.path)
        if git("status", "--porcelain", at=self.path):
            git("commit", "--no-verify", "-q", "-m", message, at=self.path)
        commit = git("rev-parse", "HEAD", at=self.path)
        git("update-ref", self.ref, commit, at=self.path)
        return commit


@contextmanager
def checked_out(inputs: Inputs, settings: Settings) -> Iterator[Checkout]:
    """The run's checkout, made or found, held against other processes until the block ends."""
    run = Checkout(inputs.root, settings.home_dir / "runs" / inputs.run)
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(settings.home_dir / IN_USE, shared=True), locked(run.folder / "lock"):
        if not (run.folder / "ready").exists():
            _make(run, inputs, settings)
        with locked(run.gpu_lock), locked(run.step_lock):
            pass  # a step of a killed run may still be ending
        _configure_dvc(run.path / ".dvc", settings)  # of a run that is found again too: S3 may have moved since
        _free_git(run)
        # DVC writes this list of its own locks in place, so a kill may have torn it; nobody of this run is at work now
        (run.path / ".dvc/tmp/rwlock").unlink(missing_ok=True)
        yield run


def is_empty(folder: Path) -> bool:
    """Whether there is no more than `LEFT_OF_A_RUN` in a run's folder."""
    return all(child.name in LEFT_OF_A_RUN for child in folder.iterdir())


def empty_run(folder: Path) -> None:
    """Remove all but `LEFT_OF_A_RUN` of a run's folder, when nobody is at work in it. A kill can be taken up again."""
    with locked(folder / "lock"), locked(folder / "step.lock"):
        (folder / "ready").unlink(missing_ok=True)  # first, so that half a worktree is made anew
        checkout = folder / "checkout"
        _clear(checkout, but=("data",))
        _clear(checkout / "data", but=("landed.json",))  # what tells whose run it is goes last
        _clear(folder, but=LEFT_OF_A_RUN)


def _clear(folder: Path, *, but: Collection[str]) -> None:
    for child in folder.iterdir() if folder.is_dir() else ():
        if child.name in but:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def is_at_work(folder: Path) -> bool:
    """Whether a process of this machine holds the run in `folder`."""
    return is_locked(folder / "lock")


def _free_git(run: Checkout) -> None:
    """Wait for the git of a killed run, which may still be ending, and remove the locks of one that was killed too."""
    own = Path(git("rev-parse", "--absolute-git-dir", at=run.path))
    ref = Path(git("rev-parse", "--path-format=absolute", "--git-path", f"{run.ref}.lock", at=run.path))
    for lock in (own / "index.lock", own / "HEAD.lock", ref):
        while _is_young(lock):
            time.sleep(0.1)
        lock.unlink(missing_ok=True)


def _is_young(lock: Path) -> bool:
    try:
        return time.time() - lock.stat().st_mtime < GIT_SECONDS
    except FileNotFoundError:
        return False


def _make(run: Checkout, inputs: Inputs, settings: Settings) -> None:
    with locked(settings.home_dir / "git.lock"):
        shutil.rmtree(run.path, ignore_errors=True)
        git("worktree", "prune", at=run.root)
        # forced twice: over a worktree that is registered and gone, and over one whose making was killed ("locked")
        git("worktree", "add", "--detach", "--force", "--force", str(run.path), inputs.commit, at=run.root)
    (run.path / "params.yaml").write_text(inputs.params, encoding="utf-8")
    (run.path / "data").mkdir(exist_ok=True)
    (run.path / "data/landed.json").write_text(inputs.landed, encoding="utf-8")
    (run.folder / "ready").touch()


def _configure_dvc(folder: Path, settings: Settings) -> None:
    """Point DVC at the shared cache (local) and at the remote (committed, so that a clone can pull).

    Each file is replaced as a whole: the run is told anew whenever it is opened, and may be killed while it is.
    """
    local = configparser.ConfigParser()
    local["cache"] = {"dir": str(settings.home_dir / "cache"), "type": '"reflink,hardlink,symlink,copy"'}
    local["core"] = {"site_cache_dir": str(folder.parents[1] / "dvc")}  # the run's own, so that it goes with the run
    _write(local, folder / "config.local")
    if settings.remote:
        shared = configparser.ConfigParser()
        shared.read(folder / "config", encoding="utf-8")
        shared["core"]["remote"] = "nightreel"
        shared["'remote \"nightreel\"'"] = {"url": settings.remote} | (
            {"endpointurl": settings.s3_endpoint} if settings.s3_endpoint and _is_s3(settings.remote) else {}
        )
        _write(shared, folder / "config")


def _is_s3(url: str) -> bool:
    return url.startswith("s3://")


def _write(config: configparser.ConfigParser, path: Path) -> None:
    partial = path.parents[2] / f"{path.name}.partial"  # beside the worktree, so that no commit ever has it
    with partial.open("w", encoding="utf-8") as file:
        config.write(file)
    partial.replace(path)
