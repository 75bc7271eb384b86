"""A checkout whose nights run on servers of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.stack.layout import Stack
from tests.flows.end_state import home_of
from tests.infra.stacks import stack_in


@contextmanager
def on_stack(template: Path, folder: Path) -> Iterator[tuple[Path, Stack]]:
    """A copy of `template` in `folder` and its stack, which is up; nights there know no other Prefect server."""
    project = Path(shutil.copytree(template, folder / "project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        with stack_in(home_of(project)) as stack:
            yield project, stack
