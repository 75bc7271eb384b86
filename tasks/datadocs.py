"""Great Expectations, quietly: run suites over frames, write the Data Docs, say what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
from great_expectations import ExpectationSuite, ValidationDefinition, get_context
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from tasks.quarantine import EVENT_KEY, neighbours
from tasks.snapshot import Check
from tasks.suites import checked_columns, events_suite, repeats_suite, snapshot_suite, users_suite, videos_suite

Detail = Literal["BOOLEAN_ONLY", "BASIC", "SUMMARY"]


@dataclass(frozen=True)
class Outcome:
    """What one expectation found. `columns` names its column or columns."""

    suite: str
    expectation: str
    columns: str
    passed: bool


def quiet_context(docs: Path) -> EphemeralDataContext:
    """A context that keeps everything in memory but the Data Docs under `docs`, with no progress bars."""
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={"nightreel": site},
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = get_context(mode="ephemeral", project_config=config)
    # One source for all suites: each new one makes Great Expectations write its whole configuration out several times.
    context.data_sources.add_pandas("nightreel").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    return context


def hold_snapshot(
    accepted: Mapping[str, pl.DataFrame], checks: Sequence[Check], docs: Path, *, as_of: date
) -> list[dict[str, Any]]:
    """Hold the suites against the accepted rows and the snapshot's figures, and write the Data Docs.

    Args:
        accepted: events, videos and users, those that there are; one without rows is left to `checks`.
        checks: the snapshot's figures and their bounds.
        docs: folder of the Data Docs.
        as_of: the night's date.

    Returns:
        A mapping a check: `name`, `observed`, `bound`, `passed`, `reason`. The accepted rows of each table are one.
    """
    context = quiet_context(docs)
    rows = [
        _row_check(table, hold_rows(context, table, frame, as_of=as_of))
        for table, frame in accepted.items()
        if frame.height
    ]
    figures = pd.DataFrame({check.name: [check.observed] for check in checks if check.observed is not None})
    outcomes = hold(context, snapshot_suite(checks), figures, as_of=as_of, detail="BASIC")
    passed = {outcome.columns: outcome.passed for outcome in outcomes}
    context.build_data_docs()
    return [_check(check, passed=check.observed is None or passed[check.name]) for check in checks] + rows


def hold_rows(context: EphemeralDataContext, table: str, frame: pl.DataFrame, *, as_of: date) -> list[Outcome]:
    """Hold the suites of `table` against its accepted rows `frame`, sorted as `tasks.quarantine` leaves them."""
    suites = {
        "events": lambda: events_suite(frame.columns, as_of=as_of),
        "videos": lambda: videos_suite(frame.columns),
        "users": users_suite,
    }
    parts = [(suites[table](), frame)]
    if table == "events":
        parts.append((repeats_suite(), neighbours(frame, EVENT_KEY)))
    outcomes = []
    for suite, rows in parts:
        # Sound rows need no detail, and telling it would cost Great Expectations a third of its time.
        seen = checked_columns(rows, suite).to_pandas()
        outcomes += hold(context, suite, seen, as_of=as_of, detail="BOOLEAN_ONLY")
    return outcomes


def hold(
    context: EphemeralDataContext, suite: ExpectationSuite, frame: pd.DataFrame, *, as_of: date, detail: Detail
) -> list[Outcome]:
    """Hold `suite` against `frame`; `detail` is Great Expectations' result format. The docs know it from then on."""
    batch = context.data_sources.get("nightreel").get_asset("rows").get_batch_definition("all")
    definition = context.validation_definitions.add(
        ValidationDefinition(name=suite.name, data=batch, suite=context.suites.add(suite))
    )
    run_id = RunIdentifier(run_name=str(as_of), run_time=datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC))
    result = definition.run(batch_parameters={"dataframe": frame}, result_format=detail, run_id=run_id)
    return [_outcome(suite.name, found) for found in result.results]


def _row_check(table: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    failed = [f"{outcome.expectation} of {outcome.columns}" for outcome in outcomes if not outcome.passed]
    meaning = f"expectations that the accepted rows of {table} break"
    return {
        "name": f"rows_{table}",
        "observed": len(failed),
        "bound": "at most 0",
        "passed": not failed,
        "reason": f"{meaning}: {', '.join(failed)}" if failed else f"{meaning}, of {len(outcomes)}",
    }


def _check(check: Check, *, passed: bool) -> dict[str, Any]:
    return {
        "name": check.name,
        "observed": check.observed,
        "bound": check.bound,
        "passed": passed,
        "reason": check.reason,
    }


def _outcome(suite: str, found: Any) -> Outcome:
    config = found.expectation_config
    columns = config.kwargs.get("column_list") or [config.kwargs["column"]]
    return Outcome(suite, config.type, ", ".join(columns), bool(found.success))
