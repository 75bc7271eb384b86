"""One readable form for all logs: a line to the terminal, and JSON in the step's log, which the flow relays to Prefect.

Each line is JSON with `level`, `logger` and `message`; the line of a failure also has `error`, the class's name.
"""

import json
import logging
import sys
from pathlib import Path

from infra.errors import BadInput, NightreelError, Refused, Unreachable

ERRORS = {kind.__name__: kind for kind in (BadInput, Unreachable, Refused)}


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        fields = {"level": record.levelno, "logger": record.name, "message": record.getMessage()}
        if error := getattr(record, "error", None):
            fields["error"] = error
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def log_to(path: Path | None) -> None:
    """Send this process's logs to the file `path`, or, without one, to standard error."""
    handler: logging.Handler
    if path:
        handler = logging.FileHandler(path, encoding="utf-8")
        handler.setFormatter(JsonLines())
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
    logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, must not hide what it tells
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("tasks", "models", "lineage", "infra", "__main__"):
        logging.getLogger(room).setLevel(logging.DEBUG if path else logging.INFO)


def record_failure(error: NightreelError) -> None:
    """Log the sentence of a failure so that the flow can raise it again."""
    logging.getLogger("tasks").error("%s", error, extra={"error": type(error).__name__})


def failure_in(path: Path, *, start: int) -> NightreelError | None:
    """The last failure in the log at `path` from byte `start` on, or None."""
    if not path.exists():
        return None
    with path.open("rb") as log:
        log.seek(start)
        lines = [json.loads(line) for line in log if line.endswith(b"\n")]  # a full disk or a kill tears the last one
    faults = [line for line in lines if "error" in line]
    return ERRORS[faults[-1]["error"]](faults[-1]["message"]) if faults else None
