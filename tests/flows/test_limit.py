"""A block that takes longer than it may is interrupted, and its steps are ended."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.limit import Limit, Overrun

SOON = 0.3 / 3600
SENTENCE = (
    r"^The night ran for longer than its limit of 8\.33333e-05 hours and was stopped\. What it finished is kept, and "
    r"the next one goes on from there; --limit-hours of `nightreel schedule` sets the limit\.$"
)


def sleeper(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=folder)


def test_whoever_waits_for_a_step_is_interrupted_and_the_step_ended(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    limit = Limit(SOON)
    step, other = sleeper(tmp_path / "run"), sleeper(Path("/"))
    started = time.monotonic()
    try:
        with pytest.raises(Overrun, match=SENTENCE), limit.limited(tmp_path):
            step.wait()
        assert time.monotonic() - started < 20
        assert step.wait(timeout=20) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    with pytest.raises(Overrun):
        limit.check()


def test_in_time_nothing_happens_and_the_signal_is_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    for hours in (None, 1.0):
        limit = Limit(hours)
        with limit.limited(tmp_path):
            limit.check()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_an_error_of_the_block_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its own"), Limit(1.0).limited(tmp_path):
        raise ValueError("its own")
