"""Fifty nights in a row on the running stack, one process for all: nothing grows that should stay as it is."""

import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import psutil
import pytest

from infra.stack.layout import Stack
from tests.flows.end_state import home_of
from tests.flows.on_stack import on_stack
from tests.flows.project import LAST_DAY, make_source, start_cli
from tests.infra.stacks import watching

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(3600)]

NIGHTS, DAYS = 50, 150  # each night knows a hundred days and more, so that a day does not change much
EARLY, LATE = slice(5, 15), slice(-10, None)
# The content store: what nights leave for good, and what servers keep of it.
KEPT = {"cache", "landing", "runs", "releases", "openlineage", "stack"}


@dataclass(frozen=True)
class Sample:
    """What there was when a night ended."""

    seconds: float
    memory: int
    open_files: int
    servers_memory: int
    servers_open_files: int
    disk: int


@pytest.fixture(scope="module")
def stack(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Stack]]:
    """A checkout and its stack, which is up."""
    with on_stack(template, tmp_path_factory.mktemp("fifty")) as there:
        yield there


def test_fifty_nights(stack: tuple[Path, Stack], tmp_path: Path) -> None:
    project, servers = stack
    source, temporary = make_source(tmp_path / "source", days=DAYS), tmp_path / "temporary"
    temporary.mkdir()
    days = ("--from", str(LAST_DAY - timedelta(days=NIGHTS - 1)), "--to", str(LAST_DAY))
    words = ("replay", "--source", "files", "--path", str(source), *days, "--json")
    nights = start_cli(project, *words, env={"TMPDIR": str(temporary)})
    samples = list(_samples(project, nights, watching(servers), temporary))
    assert nights.returncode == 0, (project.parent / f"{project.name}.log").read_text()[-4000:]
    assert len(samples) == NIGHTS
    early, late = _medians(samples[EARLY]), _medians(samples[LATE])
    for sample in (*samples, early, late):
        log.info("%s", sample)
    assert late.seconds < 1.25 * early.seconds
    assert late.memory < 1.1 * early.memory
    assert late.servers_memory < 1.25 * early.servers_memory
    assert late.open_files <= early.open_files + 2
    assert late.servers_open_files < 1.25 * early.servers_open_files
    assert late.disk < early.disk + 1_000_000


def _samples(
    project: Path, nights: "subprocess.Popen[str]", servers: psutil.Process, temporary: Path
) -> Iterator[Sample]:
    """One whenever another night has left its outcome, until `nights` end."""
    process, done, since = psutil.Process(nights.pid), 0, time.monotonic()
    home = home_of(project)
    while True:
        ended = nights.poll() is not None
        if (now := len(list(home.glob("runs/*/outcome.json")))) > done:
            done, began, since = now, since, time.monotonic()
            running = [] if ended else [process]
            family = [servers, *servers.children(recursive=True)]
            places = [project.parent / f"{project.name}-user", temporary]
            places += [place for place in home.iterdir() if place.name not in KEPT]
            yield Sample(
                since - began,
                *_of(running),
                *_of(family),
                sum(file.stat().st_size for place in places for file in _files(place)),
            )
        if ended:
            return
        time.sleep(0.2)


def _of(processes: list[psutil.Process]) -> tuple[int, int]:
    """Bytes of memory and open files of all of them; one that has just ended has none."""
    memory = files = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            memory, files = memory + process.memory_info().rss, files + process.num_fds()
    return memory, files


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]


def _medians(samples: list[Sample]) -> Sample:
    return Sample(*(median(values) for values in zip(*map(astuple, samples), strict=True)))
