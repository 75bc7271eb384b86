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
from infra.orphans import owner_variable
from infra.s3 import aws_environment
from infra.settings import Settings


class Pipeline:
    """The stages of `dvc.yaml` in one checkout."""

    def __init__(self, checkout: Checkout, settings: Settings) -> None:
        self._checkout = checkout
        self._settings = settings

    def reproduce(self, stage: str) -> bool:
        """Bring `stage` up to date; True when its command ran, False when its work was found.

        Raises:
            NightreelError: what the stage itself said when it failed, or that it died without a word.
        """
        from dvc.exceptions import DvcException

        before = self._said()
        with self._repo() as repo:
            try:
                repo.reproduce(targets=[stage], single_item=True)
            except DvcException as error:
                raise self._failure(stage, error, said=before) from error
        return self._said() > before  # each command says at least that it is done

    def up_to_date(self, stages: Sequence[str]) -> bool:
        """Whether all of `stages` have their outputs in place and nothing that they read has changed."""
        from dvc.exceptions import DvcException

        with self._repo() as repo:
            try:
                return not repo.status(targets=list(stages))
            except DvcException:  # a stage was never run here, so there is nothing to compare with
                return False

    def push(self) -> None:
        """Copy what the run's commit names to the DVC remote, if one is set. Raises `Unreachable`."""
        if not self._settings.remote:
            return
        from dvc.exceptions import DvcException

        with self._repo() as repo:
            try:
                repo.push()
            except (DvcException, OSError) as error:
                raise Unreachable(f"dvc push to {self._settings.remote} failed: {_root_cause(error)}") from error

    @contextlib.contextmanager
    def _repo(self) -> Iterator[Any]:
        """The checkout as a DVC repository; DVC asks that the process stands in it.

        Raises:
            BadInput: its cache or one of its databases cannot be written.
        """
        from diskcache import Timeout
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.ERROR)
        logging.getLogger("dvc_data").setLevel(logging.CRITICAL)  # it logs the trace of what it then raises
        here = self._checkout.path
        try:
            with contextlib.chdir(here), _environment(self._variables()), Repo(str(here)) as repo:
                _ask_once(repo.state.hashes)
                _ask_once(repo.state.links)
                yield repo
        except (OSError, sqlite3.Error, Timeout) as error:
            raise self._full(error) or BadInput(f"DVC cannot work in {here}: {_root_cause(error)}") from error

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "NIGHTREEL_LOG": str(self._checkout.log),
            "NIGHTREEL_HOME": str(self._settings.home_dir),
            **owner_variable(self._checkout.step_lock),
            **aws_environment(self._settings),
        }

    def _said(self) -> int:
        return self._checkout.log.stat().st_size if self._checkout.log.exists() else 0

    def _failure(self, stage: str, error: Exception, *, said: int) -> NightreelError:
        if told := failure_in(self._checkout.log, start=said):
            return told
        return self._full(error) or BadInput(
            f"Step {stage} ended without a word: {_root_cause(error)}. It was killed (out of memory?) or has a defect; "
            f"see {self._checkout.log}"
        )

    def _full(self, error: Exception) -> BadInput | None:
        where = self._checkout.folder
        return (
            BadInput(f"The disk of {where} is full. Free some space there and run again.") if is_full(error) else None
        )


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
