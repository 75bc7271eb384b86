"""DVC in this process: reproduce one stage of a run's checkout, push what it made."""

import contextlib
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.checkout import Checkout
from infra.disk import is_full
from infra.errors import BadInput, NightreelError, Unreachable
from infra.log import failure_in
from infra.needs import Needs
from infra.orphans import owner_variable
from infra.s3 import aws_environment
from infra.settings import Settings


@contextlib.contextmanager
def pipeline_of(checkout: Checkout, settings: Settings) -> Iterator["Pipeline"]:
    """The pipeline of a checkout, for a process that stands in it until the block ends, as DVC asks."""
    checkout.logs.mkdir(exist_ok=True)
    with contextlib.chdir(checkout.path), _environment(_variables(checkout, settings)):
        yield Pipeline(checkout, settings)


class Pipeline:
    """The stages of `dvc.yaml` in one checkout. Threads may reproduce stages that do not depend on each other."""

    def __init__(self, checkout: Checkout, settings: Settings) -> None:
        self._checkout = checkout
        self._settings = settings

    def reproduce(self, stage: str) -> bool:
        """Bring `stage` up to date; True when its command ran, False when its work was found.

        Raises:
            NightreelError: what the stage itself said when it failed, or that it died without a word.
            BadInput: this machine has less memory than the stage needs.
        """
        from dvc.exceptions import DvcException

        Needs.of(stage, self._checkout.path / "dvc.yaml").require_memory(stage)
        before = self.said(stage)
        with self._repo() as repo:
            try:
                repo.reproduce(targets=[stage], single_item=True)
            except DvcException as error:
                raise self._failure(stage, error, said=before) from error
        return self.said(stage) > before  # each command says at least that it is done

    def up_to_date(self, stages: Sequence[str]) -> bool:
        """Whether all of `stages` have their outputs in place and nothing that they read has changed."""
        from dvc.exceptions import DvcException

        with self._repo() as repo:
            try:
                changed = repo.status()  # of all stages: told its targets, DVC parses its files once for each
            except DvcException:
                return False
        return not changed.keys() & set(stages)

    def push(self) -> None:
        """Copy what the run's commit names to the DVC remote, if one is set. Raises `Unreachable`."""
        if not self._settings.remote:
            return
        from botocore.exceptions import BotoCoreError
        from dvc.exceptions import DvcException

        with self._repo() as repo:
            try:
                repo.push()
            except (DvcException, OSError, BotoCoreError) as error:
                raise Unreachable(f"dvc push to {self._settings.remote} failed: {_root_cause(error)}") from error

    @contextlib.contextmanager
    def _repo(self) -> Iterator[Any]:
        """The checkout as a DVC repository, which waits for the moments in which another thread holds DVC's own lock.

        Raises:
            BadInput: its cache or one of its databases cannot be written.
        """
        from diskcache import Timeout
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.ERROR)
        logging.getLogger("dvc_data").setLevel(logging.CRITICAL)  # it logs the trace of what it then raises
        here = self._checkout.path
        try:
            with Repo(str(here), _wait_for_lock=True) as repo:
                _ask_once(repo.state.hashes)
                _ask_once(repo.state.links)
                yield repo
        except (OSError, sqlite3.Error, Timeout) as error:
            raise self._full(error) or BadInput(f"DVC cannot work in {here}: {_root_cause(error)}") from error

    def said(self, stage: str) -> int:
        """How much the stage has said so far, over all times that it ran."""
        log = self._checkout.log(stage)
        return log.stat().st_size if log.exists() else 0

    def told(self, stage: str, before: int) -> NightreelError | None:
        """How the stage said that it failed, after what it had `said` before."""
        return failure_in(self._checkout.log(stage), start=before)

    def _failure(self, stage: str, error: Exception, *, said: int) -> NightreelError:
        return (
            self.told(stage, said)
            or self._full(error)
            or BadInput(
                f"Step {stage} ended without a word: {_root_cause(error)}. It was killed (out of memory?) or has a "
                f"defect; see {self._checkout.log(stage)}"
            )
        )

    def _full(self, error: Exception) -> BadInput | None:
        where = self._checkout.folder
        return (
            BadInput(f"The disk of {where} is full. Free some space there and run again.") if is_full(error) else None
        )


def _variables(checkout: Checkout, settings: Settings) -> dict[str, str]:
    """What steps read: which Python to run, where to log, whose they are, how to reach S3."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "NIGHTREEL_LOGS": str(checkout.logs),
        "NIGHTREEL_HOME": str(settings.home_dir),
        **owner_variable(checkout.step_lock),
        **aws_environment(settings),
    }


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def _ask_once(database: Any) -> None:
    """DVC's databases ask to write again as long as they are told no, and a full disk says no for ever."""
    database.set = lambda key, value, **options: type(database).set(database, key, value, **options | {"retry": False})
