"""The process that decodes one file: `python -m tasks.media.worker`, a request as JSON on standard input.

What it is given is hostile until decoded, so it limits itself before it opens anything, gets an open file rather than a
path, and leaves plain arrays and a JSON report in the folder that the request names.
"""

import json
import resource
import signal
import sys
from math import ceil
from pathlib import Path
from typing import Any

from tasks.media.limits import Limits, Undecodable


def main() -> None:
    """Answer the one request on standard input."""
    request = json.load(sys.stdin)
    limits, folder = Limits(**request["limits"]), Path(request["folder"])
    restrain(limits)
    try:
        report = answer(request, limits, folder)
    except Undecodable as error:
        report = {"undecodable": str(error)}
    except MemoryError:
        report = {"undecodable": f"it needs more than {limits.memory:,} bytes of memory"}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")


def restrain(limits: Limits) -> None:
    """Limit this process by the kernel. The alarm holds where whoever would kill it is itself gone."""
    seconds = ceil(limits.time_limit) + 1
    for what, most in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    signal.alarm(seconds)


def answer(request: dict[str, Any], limits: Limits, folder: Path) -> dict[str, Any]:
    """Do what `request` asks. Imports FFmpeg only here, under the limits."""
    import av

    from tasks.media.dense import dense
    from tasks.media.take_apart import take_apart

    av.logging.set_level(av.logging.PANIC)
    if request["job"] == "dense":
        return dense(request["descriptor"], fps=request["fps"], limits=limits, folder=folder)
    return take_apart(request["descriptor"], limits=limits, folder=folder)


if __name__ == "__main__":
    main()
