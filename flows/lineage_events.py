"""What each step of a night reads and makes, told to OpenLineage: from dvc.yaml, dvc.lock and the run's own files."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger
from prefect.runtime import flow_run

from infra.checkout import Checkout
from infra.locks import locked
from infra.registry import Registry
from infra.s3 import SCHEME, parse_url
from infra.settings import Settings
from lineage.event_sinks import Endpoint, EventFile, Sink
from lineage.ledger import Entry
from lineage.openlineage import Data, NightEvents, Quality, Step
from tasks import paths
from tasks.arrivals import Origin
from tasks.landing import Landed
from tasks.stage import read_json

SERVING = (paths.INDEX, paths.PREPARED)
ITEM = re.compile(r"\$\{item\.\w+\}")  # of a stage that dvc.yaml repeats for each of a list
FACTS = ("data/", "metrics/")


@contextmanager
def lineage_events(settings: Settings, name: str) -> Iterator["StepEvents"]:
    """The events of this flow's night of the recommender `name`: its own around the block, its steps' inside."""
    logger = get_run_logger()
    file = EventFile(settings.home_dir / "openlineage/events.ndjson", logger)
    sink: Sink = file
    if settings.openlineage_url:
        sink = Endpoint(settings.openlineage_url, settings.openlineage_api_key, file=file, logger=logger)
    events = NightEvents(sink, name=name, flow=str(flow_run.flow_name), attempt=str(flow_run.id))
    with closing(sink), events.night():
        yield StepEvents(events, settings, name)


class StepEvents:
    """The steps of one night as OpenLineage hears of them."""

    def __init__(self, events: NightEvents, settings: Settings, name: str) -> None:
        self.step = events.step
        self._events = events
        self._settings = settings
        self._name = name

    def work_in(self, checkout: Checkout, registry: Registry) -> None:
        """From here on the night works in `checkout` and with `registry`."""
        self._events.run = checkout.run
        self._checkout = checkout
        self._mlflow = _uri(registry.uri)

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Surround one DVC stage."""
        with self.step(stage, reads=self._read_by(stage)) as told:
            yield
            told.outputs = self._made_by(stage)
            if stage == "gate":
                told.verdict = read_json(self._checkout.path / paths.VERDICT)

    def landed(self, told: Step, landed: Landed) -> None:
        """The source's files went in, the list of what tonight knows came out."""
        origins = {(origin.uri, origin.sha256): origin for part in landed.parts for origin in part.origins}
        told.inputs = [_origin(origin) for origin in origins.values()]
        told.outputs = [self._dvc(str(paths.LANDED), _md5(landed.as_json().encode()))]

    def recorded(self, told: Step, commit: str) -> None:
        """All that dvc.lock names went into the run's commit."""
        told.inputs = [self._dvc(path, version) for path, version in self._versions().items()]
        told.outputs = [self._run(commit)]

    def registered(self, told: Step, commit: str, version: str, *, candidate: str) -> None:
        """The run's commit and what answers viewers went into a model version."""
        parts = {str(part) for part in (*SERVING, paths.CANDIDATES / candidate)}
        serving = [self._dvc(path, digest) for path, digest in self._versions().items() if path in parts]
        told.inputs = [self._run(commit), *serving]
        told.outputs = [self._model(version)]

    def released(self, told: Step, entry: Entry) -> None:
        """A model version went live."""
        told.inputs = [self._model(str(entry.model_version))]
        told.outputs = [self._release(entry.release), self._stored("ledger", str(entry.seq))]

    def _read_by(self, stage: str) -> list[Data]:
        """What the stage reads, each as the step left it that made it; a folder of several makers is all of theirs."""
        versions, reads = self._versions(), []
        for dep in self._declared(stage, "deps"):
            made = {path: version for path, version in versions.items() if path == dep or path.startswith(f"{dep}/")}
            file = self._checkout.path / dep
            if not made and file.is_file():  # the flow itself wrote it
                made = {dep: _md5(file.read_bytes())}
            reads += [self._dvc(path, version) for path, version in made.items()]
        if stage == "champion" and (live := read_json(self._checkout.path / paths.CHAMPION)["release"]):
            reads.append(self._release(live))
        return reads

    def _made_by(self, stage: str) -> list[Data]:
        versions = self._versions()
        made = [*self._declared(stage, "outs"), *self._declared(stage, "metrics")]
        return [self._described(path, versions[path]) for path in made]

    def _declared(self, stage: str, kind: str) -> list[str]:
        """Paths of data and metrics that dvc.yaml declares for the stage."""
        template, _, item = stage.partition("@")
        declared: Sequence[str | dict[str, Any]] = self._stages[template].get(kind, ())
        named = [path if isinstance(path, str) else next(iter(path)) for path in declared]
        return [ITEM.sub(item, path) for path in named if path.startswith(FACTS)]

    @cached_property
    def _stages(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self._checkout.path / "dvc.yaml").read_text(encoding="utf-8"))["stages"])

    def _versions(self) -> dict[str, str]:
        """MD5 by path of what stages have made, as dvc.lock names it; what a failed candidate left behind is gone."""
        here = self._checkout.path
        if not (here / "dvc.lock").exists():
            return {}
        with locked(here / ".dvc/tmp/lock", shared=True):  # DVC's own: it writes dvc.lock in place, in another thread
            text = (here / "dvc.lock").read_text(encoding="utf-8")
        stages = yaml.load(text, Loader=yaml.CSafeLoader)["stages"].values()
        outs = {str(out["path"]): str(out["md5"]) for stage in stages for out in stage.get("outs", ())}
        return {path: version for path, version in outs.items() if (here / path).exists()}

    def _dvc(self, path: str, version: str) -> Data:
        remote = self._settings.remote or str(self._settings.home_dir / "cache")
        return Data(f"{self._name}/{path}", version, "dvc", _uri(remote))

    def _described(self, path: str, version: str) -> Data:
        """What a stage has made, with its columns, and of the accepted events how many there are and how whole."""
        made, plain = self._checkout.path / path, self._dvc(path, version)
        quality = _quality(made / "events.parquet") if path == str(paths.ACCEPTED) else None
        return Data(plain.name, version, plain.source, plain.uri, tables=_tables(made), quality=quality)

    def _run(self, commit: str) -> Data:
        return Data(f"{self._name}/run", commit, "git", self._checkout.root.as_uri())

    def _model(self, version: str) -> Data:
        return Data(f"{self._name}/model", version, "mlflow", self._mlflow)

    def _release(self, release: str) -> Data:
        return self._stored("release", release)

    def _stored(self, what: str, version: str) -> Data:
        return Data(f"{self._name}/{what}", version, "nightreel", _uri(self._settings.store_url))


def _origin(origin: Origin) -> Data:
    """A source file, named as OpenLineage names files and S3 objects."""
    if origin.uri.startswith(SCHEME):
        bucket, name = parse_url(origin.uri)
        source, namespace = "s3", f"{SCHEME}{bucket}"
    elif origin.uri.startswith("/"):
        source, namespace, name = "file", "file", origin.uri
    else:
        source, _, name = origin.uri.partition(":")
        namespace = source
    return Data(name, origin.sha256 or str(origin.etag), source, _uri(origin.uri), namespace=namespace)


def _tables(made: Path) -> dict[str, dict[str, str]]:
    """Type by column of the Parquet tables in a folder; files of one subfolder are one table."""
    import pyarrow.parquet as pq

    tables: dict[str, dict[str, str]] = {}
    for file in sorted(made.rglob("*.parquet")):
        table = tables.setdefault(file.relative_to(made).parts[0].removesuffix(".parquet"), {})
        table.update((column.name, str(column.type)) for column in pq.read_schema(file))
    return tables


def _quality(table: Path) -> Quality:
    import pyarrow.parquet as pq

    footer = pq.read_metadata(table)
    nulls: dict[str, int] = {}
    for group in range(footer.num_row_groups):
        for column in map(footer.row_group(group).column, range(footer.num_columns)):
            if column.statistics is not None and column.statistics.has_null_count:
                name = column.path_in_schema
                nulls[name] = nulls.get(name, 0) + column.statistics.null_count
    return Quality(footer.num_rows, table.stat().st_size, nulls)


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # as DVC names it


def _uri(place: str) -> str:
    """A folder or a URL as a URL; that of a server without what a password may be in."""
    if place.startswith("/"):
        return Path(place).as_uri()
    if place.startswith(SCHEME):
        return place
    return re.sub(r"^(\w+://)[^/@]*@", r"\1", place.partition("?")[0])
