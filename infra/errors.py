"""The errors that a person is meant to read.

NightreelError
├── BadInput      what was given cannot be used: data, parameters, a path, a credential   (exit 2)
├── Unreachable   a service did not answer: an object store, MLflow, Prefect              (exit 2)
└── Refused       a check or the gate said no; the live release is untouched              (exit 1)

Each message is one sentence or two that name the thing, the rule and what came.
"""

from typing import ClassVar


class NightreelError(Exception):
    """Base of every error whose message is the whole story for the reader."""

    exit_code: ClassVar[int] = 2


class BadInput(NightreelError):
    """What was given cannot be used."""


class Unreachable(NightreelError):
    """A service that is needed did not answer."""


class Refused(NightreelError):
    """A check or the gate said no."""

    exit_code: ClassVar[int] = 1
