"""OpenLineage events of a night, made of plain facts: what each step read, what it made, and how it ended.

Jobs are `NAME.STEP` in the namespace `nightreel`; the night is the parent run of its steps. Runs are named by UUIDs
derived from the night's attempt, the step, and how often the night has come to it.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    data_quality_metrics_dataset,
    dataset_version_dataset,
    datasource_dataset,
    error_message_run,
    parent_run,
    schema_dataset,
    set_producer,
    tags_run,
)

from lineage.event_sinks import Sink

NAMESPACE = "nightreel"
PRODUCER = "urn:nightreel:night"
VERDICT_SCHEMA = "urn:nightreel:docs/openlineage-verdict.json"
RUNS = uuid5(NAMESPACE_URL, "urn:nightreel:openlineage")


@dataclass(frozen=True)
class Quality:
    """What is known of a table: rows, bytes, and null values by column."""

    rows: int
    bytes: int
    nulls: Mapping[str, int]


@dataclass(frozen=True)
class Data:
    """Something that a step reads or makes.

    Attributes:
        name: its name, the same every night, in `namespace`.
        version: what it is tonight: a digest, an ETag, a number.
        source, uri: the kind of place that it lies in (`dvc`, `s3`, `mlflow`, ...), and where that is.
        tables: type by column, by table.
        quality: of its main table.
    """

    name: str
    version: str
    source: str
    uri: str
    namespace: str = NAMESPACE
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    quality: Quality | None = None


@dataclass
class Step:
    """What a step reads and makes, told while it is at work; `verdict` is the gate's."""

    inputs: Sequence[Data] = ()
    outputs: Sequence[Data] = ()
    verdict: Mapping[str, Any] | None = None


@attr.define
class FailedCheck:
    """A check that did not pass, its figures and its bound."""

    name: str
    reason: str
    challenger: float | None
    champion: float | None
    bound: float | None


@attr.define
class VerdictRunFacet(RunFacet):
    """The gate's verdict; `docs/openlineage-verdict.json` is its schema."""

    passed: bool
    challenger: str | None
    against: str
    failed: list[FailedCheck]

    @staticmethod
    def _get_schema() -> str:
        return VERDICT_SCHEMA


class NightEvents:
    """The events of one night. Its steps may be at work in several threads at once.

    Args:
        sink: takes the events.
        name: the recommender.
        flow: the night's own job, such as `night`.
        attempt: what names this execution of the night and no other.

    Attributes:
        run: Nightreel's name of the run, from when it is known; a tag of each event.
    """

    def __init__(self, sink: Sink, *, name: str, flow: str, attempt: str) -> None:
        set_producer(PRODUCER)
        self.run: str | None = None
        self._sink = sink
        self._name = name
        self._flow = flow
        self._attempt = attempt
        self._times: Counter[str] = Counter()
        self._counting = threading.Lock()

    @contextmanager
    def night(self) -> Iterator[None]:
        """START, and after the block COMPLETE or FAIL, of the night itself."""
        with self._surrounded(self._flow, {}, Step()):
            yield

    @contextmanager
    def step(self, step: str, *, reads: Sequence[Data] = ()) -> Iterator[Step]:
        """START, and after the block COMPLETE or FAIL, of a step; what the block tells goes into the latter."""
        parent = parent_run.ParentRunFacet(
            run=parent_run.Run(runId=self._id(self._flow, 1)),
            job=parent_run.Job(namespace=NAMESPACE, name=f"{self._name}.{self._flow}"),
        )
        told = Step(inputs=reads)
        with self._surrounded(step, {"parent": parent}, told):
            yield told

    @contextmanager
    def _surrounded(self, step: str, facets: Mapping[str, RunFacet], told: Step) -> Iterator[None]:
        with self._counting:
            self._times[step] += 1
            run = self._id(step, self._times[step])
        self._emit(RunState.START, step, run, facets, told)
        try:
            yield
        except BaseException as error:  # an interrupted run has failed, too
            self._emit(RunState.FAIL, step, run, {**facets, "errorMessage": _error(error)}, told)
            raise
        self._emit(RunState.COMPLETE, step, run, {**facets, **_verdict(told)}, told)

    def _id(self, step: str, time: int) -> str:
        return str(uuid5(RUNS, f"{self._attempt}/{self._name}.{step}/{time}"))

    def _emit(self, state: RunState, step: str, run: str, facets: Mapping[str, RunFacet], told: Step) -> None:
        event = RunEvent(
            eventType=state,
            eventTime=datetime.now(UTC).isoformat(timespec="microseconds"),
            run=Run(runId=run, facets={**facets, **self._tags()}),
            job=Job(namespace=NAMESPACE, name=f"{self._name}.{step}"),
            inputs=[InputDataset(data.namespace, data.name, facets=_facets(data)) for data in told.inputs],
            outputs=[OutputDataset(data.namespace, data.name, facets=_facets(data)) for data in told.outputs],
        )
        self._sink.emit(event)

    def _tags(self) -> dict[str, RunFacet]:
        if self.run is None:
            return {}
        return {"tags": tags_run.TagsRunFacet([tags_run.TagsRunFacetFields("nightreel.run", self.run, "NIGHTREEL")])}


def _error(error: BaseException) -> RunFacet:
    return error_message_run.ErrorMessageRunFacet(str(error) or type(error).__name__, "python")


def _verdict(told: Step) -> dict[str, RunFacet]:
    if told.verdict is None:
        return {}
    given = told.verdict
    fields = [field.name for field in attr.fields(FailedCheck)]
    failed = [FailedCheck(**{name: check[name] for name in fields}) for check in given["checks"] if not check["passed"]]
    return {"nightreel_verdict": VerdictRunFacet(given["passed"], given["challenger"], given["against"], failed)}


def _facets(data: Data) -> dict[str, DatasetFacet]:
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(data.version),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(data.source, data.uri),
    }
    if data.tables:
        facets["schema"] = schema_dataset.SchemaDatasetFacet([_table(*table) for table in data.tables.items()])
    if data.quality:
        facets["dataQualityMetrics"] = _quality(data.quality)
    return facets


def _table(name: str, columns: Mapping[str, str]) -> schema_dataset.SchemaDatasetFacetFields:
    fields = [
        schema_dataset.SchemaDatasetFacetFields(column, kind, ordinal_position=at, fields=None)
        for at, (column, kind) in enumerate(columns.items(), start=1)
    ]
    return schema_dataset.SchemaDatasetFacetFields(name, "table", fields=fields)


def _quality(quality: Quality) -> DatasetFacet:
    columns = {
        name: data_quality_metrics_dataset.ColumnMetrics(nullCount=nulls, quantiles=None)
        for name, nulls in quality.nulls.items()
    }
    return data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(columns, quality.rows, quality.bytes)
