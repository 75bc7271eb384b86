"""What a step's own process says reaches Prefect while it runs."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]
POLL_SECONDS = 0.2


@contextmanager
def relayed(path: Path, logger: Logger) -> Iterator[None]:
    """Pass each new line of the JSON log at `path` on to `logger` until the block ends; failures are left to raise."""
    done = threading.Event()
    with path.open("a+", encoding="utf-8") as log:  # made where it is missing
        log.seek(0, 2)
        follower = threading.Thread(target=_follow, args=(log, logger, done), daemon=True)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _follow(log: TextIO, logger: Logger, done: threading.Event) -> None:
    pending = ""
    while True:
        last = done.wait(POLL_SECONDS)
        pending += log.read()
        *lines, pending = pending.split("\n")
        for line in filter(None, lines):
            said = json.loads(line)
            if "error" not in said:
                logger.log(said["level"], "%s", said["message"])
        if last:
            return
