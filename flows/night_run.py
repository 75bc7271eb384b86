"""One run of a night while it happens: its checkout, its services, its steps and how long they took."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prefect import get_run_logger

from flows.limit import Limit, Overrun
from flows.lineage_events import StepEvents, lineage_events
from flows.outcome import Request
from flows.steps import encoder_step, land_step, record_step, stage_step
from infra.checkout import Checkout, Inputs, checked_out
from infra.errors import NightreelError
from infra.git import project_root
from infra.pipeline import Pipeline, pipeline_of
from infra.registry import Registry
from infra.settings import Settings
from lineage.books import Books
from lineage.holding import Held
from lineage.lease import LostLease
from tasks.params import Params, load_params
from tasks.stage import read_json


@dataclass
class Night:
    """One run while it happens: its checkout, its services, and how long each step took."""

    checkout: Checkout
    pipeline: Pipeline
    params: Params
    name: str
    code: str
    clean: bool
    settings: Settings
    events: StepEvents
    lease: Held | None = None
    limit: Limit | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    override: str | None = None

    def __post_init__(self) -> None:
        self.registry = Registry(self.settings, self.name)
        self.books = Books(self.settings, self.name, self.params.release.require_signature)
        self.events.work_in(self.checkout, self.registry)

    def stage(self, name: str) -> None:
        """Bring one DVC stage up to date. Raises `LostLease`, `Overrun` when this run has no more to say."""
        self.go_on()
        with self.timed(name), self.events.stage(name):
            stage_step(name, self.pipeline, self.checkout, self.go_on)

    def go_on(self) -> None:
        """Raise `LostLease`, `Overrun` when this run has no more to say."""
        for bound in (self.lease, self.limit):
            if bound:
                bound.check()

    def candidate(self, name: str) -> None:
        """Train and evaluate one candidate; one that fails is left behind."""
        self._leave_behind([name], self.stages_of(name))

    def encode(self) -> None:
        """Encode and tag the catalogue; without that, nothing that reads content is trained."""
        self._leave_behind([*self.params.after_encode, *self.params.learners], ["encode"])

    def regions(self) -> None:
        """Where and when viewers watch; a night without that is a night all the same."""
        self._leave_behind(["regions"], ["regions"])

    def learn(self) -> None:
        """What learns from video and text on its way; each a registered model, with the verdict of its own gate."""
        for name in self.params.learners:
            self._leave_behind([name], [f"learn@{name}"])
            if name not in self.failed:
                version = encoder_step(name, self.checkout, self.books)
                get_run_logger().info("%s: model version %s", name, version)

    def _leave_behind(self, parts: Sequence[str], stages: Sequence[str]) -> None:
        """Bring `stages` up to date; where one fails, `parts` of the night are out and the rest goes on.

        With no part to leave behind, the failure is the night's.
        """
        try:
            for stage in stages if self.failed.keys().isdisjoint(parts) else ():
                self.stage(stage)
        except (LostLease, Overrun):
            raise
        except NightreelError as error:
            if not parts:
                raise
            for name in parts:
                self.failed[name] = str(error)
                get_run_logger().error("%s is out: %s", name, error)

    def stages_of(self, candidate: str) -> tuple[str, str]:
        """The DVC stages that train and evaluate `candidate`; those that read content vectors depend on more."""
        kind = self.params.kind_of(candidate)
        return f"train{kind}@{candidate}", f"evaluate{kind}@{candidate}"

    def is_trained(self) -> bool:
        """Whether this run has come to its challenger before and nothing that it read has changed."""
        per_candidate = [stage for name in self.params.every_candidate for stage in self.stages_of(name)]
        learn = [f"learn@{name}" for name in self.params.learners]
        with self.timed("look"):
            trained = self.pipeline.up_to_date(
                ["ingest", "validate", "prepare", "regions", "encode", *per_candidate, *learn, "index"]
            )
        if trained:
            get_run_logger().info("this run has trained before and nothing has changed")
        return trained

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the block's wall time to `seconds[step]`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + round(time.perf_counter() - started, 2)

    def record(self, how: str) -> str:
        """Commit what the run has made; the commit."""
        with self.timed("record"), self.events.step("record") as told:
            commit = record_step(f"Night {self.checkout.run}: {how}", self.pipeline, self.checkout)
            self.events.recorded(told, commit)
            return commit

    def read(self, metrics: Path) -> dict[str, Any]:
        """A metrics file of the run."""
        return read_json(self.checkout.path / metrics)


@contextmanager
def opened(request: Request, lease: Held | None = None, limit: Limit | None = None) -> Iterator[Night]:
    """Land the data, and hold the run's checkout until the block ends."""
    root = project_root(Path(request.root))
    params = load_params(root / "params.yaml", request.overrides)
    settings = Settings(home=Settings().home_dir)
    name = params.name or request.source
    params = params.model_copy(update={"name": name})
    started = time.perf_counter()
    with lineage_events(settings, name) as events:
        with events.step("land") as told:
            landed = land_step(request.source, request.path, name, settings, request.as_of)
            events.landed(told, landed)
        text = yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False)
        inputs = Inputs.of(root, params=text, landed=landed.as_json(), as_of=str(landed.as_of))
        with checked_out(inputs, settings) as checkout, pipeline_of(checkout, settings) as pipeline:
            night = Night(checkout, pipeline, params, name, inputs.commit, inputs.clean, settings, events, lease, limit)
            night.seconds["land"] = round(time.perf_counter() - started, 2)
            get_run_logger().info("run %s in %s", checkout.run, checkout.path)
            yield night
