"""The last step before a service: become it, with its environment, and end when the supervisor does.

The supervisor starts `python -m infra.stack.launch NAME` in the stack's folder, so that nothing secret stands in its
configuration or on a command line.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.stack.service import Service
from infra.stack.services import services_in

PR_SET_PDEATHSIG = 1
NEEDED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "TZ")


def main() -> None:
    """Replace this process by the service that the first word names."""
    folder = Path.cwd()
    chosen = next(service for service in services_in(folder) if service.name == sys.argv[1])
    _end_with_parent(chosen)
    os.execve(chosen.command[0], list(chosen.command), environment_of(chosen, os.environ))


def environment_of(service: Service, here: Mapping[str, str]) -> dict[str, str]:
    """What `service` is told, of the variables `here` and its own."""
    kept = {name: value for name, value in here.items() if service.inherits or name in NEEDED}
    return {**kept, **service.environment}


def _end_with_parent(service: Service) -> None:
    """Have the kernel stop this process when the supervisor ends, however that came; Linux alone knows how."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.Signals[f"SIG{service.stop_signal}"])
    if os.getppid() != parent:  # it has ended already, so no signal will come
        sys.exit(1)


if __name__ == "__main__":
    main()
