"""A step ends with the process that started its run."""

import os
import subprocess
import sys
import time

import psutil

from infra.locks import locked
from infra.orphans import OWNER, owner_variable, tied_to_owner

STEP = """
import time
from infra.orphans import tied_to_owner
with tied_to_owner():
    print("at work", flush=True)
    time.sleep(60)
"""
RUN = f"""
import os, subprocess, sys, time
from pathlib import Path
from infra.orphans import owner_variable
step = subprocess.Popen([sys.executable, "-c", {STEP!r}], env=os.environ | owner_variable(Path(sys.argv[1])))
print(step.pid, flush=True)
time.sleep(60)
"""


def test_a_step_dies_with_its_killed_run_and_frees_the_lock(tmp_path):
    lock = tmp_path / "step.lock"
    run = subprocess.Popen([sys.executable, "-c", RUN, str(lock)], stdout=subprocess.PIPE, text=True)
    lines = {run.stdout.readline().strip(), run.stdout.readline().strip()}
    (pid,) = lines - {"at work"}
    run.kill()  # and stays a zombie for now: nobody waits for it
    with locked(lock):
        deadline = time.monotonic() + 10
        while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, "the step outlived its run"
            time.sleep(0.05)
    run.communicate()


def test_by_hand_there_is_no_owner(monkeypatch):
    monkeypatch.delenv(OWNER, raising=False)
    with tied_to_owner():
        pass


def test_the_owner_is_this_process(tmp_path):
    assert owner_variable(tmp_path / "lock") == {OWNER: f"{os.getpid()}:{tmp_path / 'lock'}"}
