"""Prefect's terminal log in one readable form: a time, the step, a sentence."""

import logging
import os

from rich.console import Console
from rich.theme import Theme

from infra.errors import NightreelError
from infra.settings import Settings

CHATTER = ("Beginning flow run", "Finished in state", "View at ", "Created task run", "Beginning subflow run")
FLOW_FAILED = "Encountered exception during execution: "


class Readable(logging.Filter):
    """Drops Prefect's own life-cycle lines, and the trace of errors whose sentence says it all.

    A step's failure is one line with that sentence. The flow's own failure is none: whoever started the flow tells it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is worth a line."""
        error = _told(record)
        if error is None:
            return not str(record.msg).startswith(CHATTER)
        said = record.getMessage().replace(repr(error), str(error))
        record.msg, record.args = said.removeprefix("Task run failed with exception: "), ()
        record.exc_info, record.exc_text = None, None
        return not said.startswith(FLOW_FAILED)


def _told(record: logging.LogRecord) -> NightreelError | None:
    """The error that a record is about: raised, or, of a step that is tried again, an argument of the message."""
    raised = record.exc_info[1] if record.exc_info else None
    told = record.args if isinstance(record.args, tuple) else ()
    return next((error for error in (raised, *told) if isinstance(error, NightreelError)), None)


def prefect_at_home(settings: Settings) -> None:
    """Lead Prefect to its server, keep its state under `home` and its lines short. Call before Prefect is imported."""
    home, auth = settings.home_dir, settings.prefect_api_auth_string
    if settings.prefect_api_url:
        os.environ["PREFECT_API_URL"] = settings.prefect_api_url
    if auth:
        os.environ["PREFECT_API_AUTH_STRING"] = auth.get_secret_value()
    (home / "prefect").mkdir(parents=True, exist_ok=True)  # its server dies without a word where this is missing
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")  # a flow run that falls silent was killed
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_DATEFMT", "%H:%M:%S")
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT", "%(asctime)s  %(message)s")
    os.environ.setdefault(
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT", "%(asctime)s  %(task_run_name)-19s  %(message)s"
    )


def log_console() -> Console | None:
    """Where Prefect prints, able to show a progress bar too. Call in a flow, which is when Prefect sets it up."""
    consoles = (getattr(handler, "console", None) for handler in logging.getLogger().handlers)
    console = next(filter(None, consoles), None)
    if console is not None:
        console.push_theme(Theme())  # Prefect's own has no style for a bar
    return console


def make_readable() -> None:
    """Attach `Readable` to what Prefect prints. Call after Prefect is imported."""
    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect.flow_engine"):
        logger = logging.getLogger(name)
        logger.addFilter(Readable())
        for handler in logger.handlers:
            handler.addFilter(Readable())
