import subprocess
import sys
from pathlib import Path

PROGRAM = """
from models.one_thread import _libraries, one_blas_thread
with one_blas_thread():
    pass
found = {library["filepath"] for library in _libraries().info() if library["user_api"] == "blas"}
import implicit.cpu.als, scipy.linalg
from threadpoolctl import ThreadpoolController
later = {library["filepath"] for library in ThreadpoolController().info() if library["user_api"] == "blas"}
assert later <= found, later - found
"""


def test_a_blas_that_is_only_needed_later_is_limited_as_well():
    """EASE in a process before iALS left the latter's products on all threads."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
