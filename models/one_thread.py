"""BLAS and LAPACK on one thread: with more, the order of their sums, and so the last bits, depends on their number."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  brings a BLAS of its own, which must be there when all are looked for
from threadpoolctl import ThreadpoolController


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The block's matrices give the same bits on any number of cores."""
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> ThreadpoolController:
    """Found once: a look through all that the process has loaded takes longer than a viewer's vector."""
    return ThreadpoolController()
