"""What each DVC stage's command shares: logging, one-sentence failures, JSON files."""

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.disk import is_full
from infra.errors import BadInput, NightreelError
from infra.log import log_to, record_failure
from infra.orphans import tied_to_owner


def stage(main: Callable[..., None]) -> None:
    """Run a stage's `main` with the command line's words, as the outermost edge of a step's process.

    A `NightreelError` ends in its sentence and its exit code; the flow that started the process reads it from the
    step's log. Anything else is a defect: its trace goes to the log, and the process ends with 70 (EX_SOFTWARE).
    """
    step, logs = "@".join([Path(sys.argv[0]).stem, *sys.argv[1:]]), os.environ.get("NIGHTREEL_LOGS")
    log_to(Path(logs) / f"{step}.jsonl" if logs else None)
    started = time.perf_counter()
    try:
        with tied_to_owner():
            main(*sys.argv[1:])
    except NightreelError as error:
        record_failure(error)
        sys.exit(error.exit_code)
    except Exception as error:
        if is_full(error):
            record_failure(BadInput(f"The disk of {Path.cwd()} is full. Free some space there and run again."))
            sys.exit(BadInput.exit_code)
        logging.getLogger("tasks").exception("A defect in Nightreel")
        sys.exit(70)
    logging.getLogger("tasks").debug("%s: done in %.1f s", step, time.perf_counter() - started)
    sys.stdout.flush()
    logging.shutdown()
    os._exit(0)  # all is written, and TensorFlow would take more than a second to take itself apart


def new_folder(path: Path) -> None:
    """Make the folder `path`, without what an earlier run left in it."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)


def write_json(path: Path, content: object) -> None:
    """Write `content` as sorted JSON, whole or not at all. Raises `ValueError` on NaN or infinity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in `path`."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
