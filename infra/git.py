"""The few git commands that a run needs, with an identity of its own so that none has to be configured."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.errors import BadInput

RUN_REFS = "refs/nightreel/runs"
BRING_RUNS = f"`git fetch REMOTE '{RUN_REFS}/*:{RUN_REFS}/*'`"
IDENTITY = {
    "GIT_AUTHOR_NAME": "nightreel",
    "GIT_AUTHOR_EMAIL": "nightreel@localhost",
    "GIT_COMMITTER_NAME": "nightreel",
    "GIT_COMMITTER_EMAIL": "nightreel@localhost",
}


def git(*words: str, at: Path, index: Path | None = None) -> str:
    """Run git in the folder `at`; its standard output, stripped. Raises `BadInput` with git's own last line.

    `index`: a file to use instead of the checkout's own index.
    """
    own_index = {"GIT_INDEX_FILE": str(index)} if index else {}
    done = subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", *words],
        cwd=at,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | IDENTITY | own_index,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise BadInput(f"git {words[0]} failed in {at}: {reason}")
    return done.stdout.strip()


def show(commit: str, path: str, *, at: Path) -> bytes:
    """The bytes of `path` in `commit`. Raises `BadInput` when there is no such commit or file in the checkout `at`."""
    done = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=at, capture_output=True, check=False)
    if done.returncode != 0:
        raise BadInput(
            f"Commit {commit[:12]} with {path} is not in the checkout {at}. Bring the runs with {BRING_RUNS}."
        )
    return done.stdout


def run_ref(run: str) -> str:
    """The git ref of a run's result."""
    return f"{RUN_REFS}/{run}"


def project_root(start: Path | None = None) -> Path:
    """The checkout's top folder around `start` (default: here).

    Raises:
        BadInput: not in a git checkout, no commit yet, or no `dvc.yaml` at its top.
    """
    start = (start or Path.cwd()).resolve()
    try:
        root = Path(git("rev-parse", "--show-toplevel", at=start))
        git("rev-parse", "--verify", "HEAD", at=root)
    except BadInput:
        raise BadInput(
            "Nightreel runs inside a git checkout with at least one commit, because a run's result is a commit. "
            f"Received: {start}. Run `git init && git add -A && git commit -m Start`, or change to a checkout."
        ) from None
    if not (root / "dvc.yaml").is_file():
        raise BadInput(f"No dvc.yaml at the top of the checkout {root}; the night's steps are read from there.")
    return root


def snapshot(root: Path) -> str:
    """A commit of the tracked files as they are now, uncommitted changes included; nothing in `root` changes.

    It works on a copy of the index: git's own would be refreshed, and locked against a night that starts beside it.
    """
    own = git("rev-parse", "--path-format=absolute", "--git-path", "index", at=root)
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copy(own, folder))
        git("add", "-u", at=root, index=copy)
        tree = git("write-tree", at=root, index=copy)
    if tree == git("rev-parse", "HEAD^{tree}", at=root):
        return git("rev-parse", "HEAD", at=root)
    return git("commit-tree", tree, "-p", "HEAD", "-m", "Uncommitted changes", at=root)
