"""One night: from raw logs to a live release, or a reasoned refusal that leaves the live release as it was."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.futures import PrefectFuture

from flows.leased import books_of, day_of, leased, work_of
from flows.limit import Limit, Overrun
from flows.lineage_events import StepEvents, lineage_events
from flows.live import Live
from flows.notices import drift_told, tell_outcome, trouble_told
from flows.outcome import Outcome, Request, Status
from flows.refresh import catalogue_of, refresh_live, refreshes
from flows.steps import (
    ask_step,
    candidates_step,
    encoder_step,
    land_step,
    reach_step,
    record_step,
    register_step,
    release_step,
    stage_step,
)
from flows.verdict_page import standings_markdown, verdict_markdown
from infra.checkout import Checkout, Inputs, checked_out
from infra.disk import room_on
from infra.errors import NightreelError
from infra.git import project_root
from infra.pipeline import Pipeline, pipeline_of
from infra.registry import Registry
from infra.settings import Settings
from lineage.approvals import rejected
from lineage.attestation import Origin, attest
from lineage.books import Books
from lineage.canonical import sha256_of_file
from lineage.holding import Busy, Held
from lineage.lease import Lease, LostLease
from lineage.ledger import Draft, Entry, LostRace
from lineage.runs import RunRecord, has_record, put_record
from lineage.snapshots import put_index
from models.catalogue import NEURAL
from tasks import paths
from tasks.bundle import bundle, serves_the_same
from tasks.params import Params, load_params
from tasks.register import version_tags
from tasks.run_record import judged_record, unjudged_record
from tasks.stage import read_json, write_json
from tasks.standings import standings

NO_VERDICT: Mapping[str, Any] = {"checks": [], "against": None}


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


@flow(name="night", flow_run_name="night-{request.source}", persist_result=False)
def night(request: Request) -> Outcome:
    """Run one night, under the lease of its recommender.

    Raises:
        BadInput, Unreachable: nothing could be judged; the sentence says why.
        Refused: the data is not fit to train on, another run was given the lease (`LostLease`), or this one took
            longer than it may (`Overrun`).
    """
    home, work = Settings().home_dir, work_of(request)

    def waits_for(other: Lease) -> bool:
        return not request.scheduled or other.work != work

    try:
        with trouble_told(request), room_on(home), leased(request, work, waits_for=waits_for) as lease:
            return _night(request, lease, home / "runs")
    except Busy as busy:
        get_run_logger().info("skipped: %s", busy)
        return Outcome(status="skipped", name=books_of(request).name, as_of=str(day_of(request)), reasons=(str(busy),))


def _night(request: Request, lease: Held, runs: Path) -> Outcome:
    limit = Limit(request.limit_hours)
    with limit.limited(runs), _opened(request, lease, limit) as run:
        if not run.is_trained():
            registry = reach_step.submit(run.registry)  # beside validation, and known to be there before training
            try:
                with drift_told(run.settings, run.name, run.checkout.path):
                    _prepare(run)
            finally:
                _await([registry])
            registry.result()
            _train(run)
        outcome = _with_new_videos(run, _judge_and_release(run))
        write_json(run.checkout.folder / "outcome.json", outcome.as_row())
        tell_outcome(run.settings, outcome)
        return outcome


@flow(name="leaderboard", flow_run_name="leaderboard-{request.source}", persist_result=False)
def measure(request: Request) -> Outcome:
    """Train and evaluate every candidate and stop there: nothing is registered, nothing goes live."""
    with room_on(Settings().home_dir), _opened(request) as run:
        if not run.is_trained():
            _prepare(run)
            _train(run)
        return _outcome(run, "measured", commit=run.record("measured"))


@flow(name="prepare", flow_run_name="prepare-{request.source}", persist_result=False)
def prepare_data(request: Request, encode: bool) -> Path:
    """Bring a night as far as its training data, encoded too where asked, and stop there; the checkout."""
    with room_on(Settings().home_dir), _opened(request) as run:
        _prepare(run)
        if encode:
            run.stage("encode")
        return run.checkout.path


@contextmanager
def _opened(request: Request, lease: Held | None = None, limit: Limit | None = None) -> Iterator[Night]:
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


def _prepare(run: Night) -> None:
    for stage in ("ingest", "validate", "prepare"):
        run.stage(stage)


def _train(run: Night) -> None:
    """All candidates, those that Keras trains beside the others and the encoders; then the challenger's index."""
    neural = [name for name in run.params.candidates if name in NEURAL]
    others = [name for name in run.params.candidates if name not in NEURAL]
    lanes = [candidates_step.submit(lane, run.candidate) for lane in (neural, others) if lane]
    try:
        run.regions()
        run.encode()
    finally:
        _await(lanes)
    for lane in lanes:
        lane.result()
    if run.params.after_encode:
        candidates_step(run.params.after_encode, run.candidate)
    run.learn()
    run.stage("index")


def _await(lanes: Sequence[PrefectFuture[None]]) -> None:
    """Wait until all have ended, since the checkout is theirs until then; the interrupt of a limit comes once."""
    try:
        for lane in lanes:
            lane.wait()
    except Overrun:
        for lane in lanes:
            lane.wait()
        raise


def _judge_and_release(run: Night) -> Outcome:
    """Gate against whatever is live, and go live. Who loses a race against another run gates again."""
    while True:
        head = run.books.ledger.proven_head()
        _warn_of_override(run, head)
        live = run.books.releases.manifest(head.release) if head else None
        same = live and serves_the_same(run.checkout.path, _challenger(run), live)
        if head and same and not _erased_since(run, head):
            return _unchanged(run, head)
        if reason := _withdrawn(run) or _rejected(run):
            commit = run.record("withdrawn")
            _remember_unjudged(run, commit)
            return _outcome(run, "refused", commit=commit, reasons=(reason,))
        verdict, commit = _verdict(run, head)
        version, release = _register(run, commit, passed=verdict["passed"])
        if not verdict["passed"]:
            return _outcome(run, "refused", verdict=verdict, commit=commit, model_version=version)
        draft = Draft(
            action="release",
            release=release,
            model_version=version,
            verdict=sha256_of_file(run.checkout.path / paths.VERDICT),
            run=run.checkout.run,
            commit=commit,
            by=run.settings.who,
            reason="passed the gate",
            fence=run.lease.token if run.lease else None,
        )
        if run.params.gate.approval == "required":
            until = _wait_for_a_person(run, draft, head)
            return _outcome(
                run, "waiting", verdict=verdict, commit=commit, release=release, model_version=version, until=until
            )
        try:
            with run.timed("release"), run.events.step("release") as told:
                entry = release_step(draft, head, run.books, run.registry)
                run.events.released(told, entry)
        except LostRace:
            get_run_logger().warning("another run went live first, so the verdict is stale: gating again")
            continue
        live_now = {"release": release, "seq": entry.seq, "model_version": version}
        return _outcome(run, "released", verdict=verdict, commit=commit, **live_now)


def _with_new_videos(run: Night, outcome: Outcome) -> Outcome:
    """Where the live model stays, it embeds what is new in the catalogue; what became of that, in words."""
    if outcome.status == "released":
        return outcome
    head, landed = run.books.ledger.proven_head(), run.read(paths.LANDED)
    has_catalogue = any(part["table"] == "videos" for part in landed["parts"])
    if head is None or not has_catalogue or not refreshes(run.books, head):
        return outcome
    accepted = pl.read_parquet(run.checkout.path / paths.ACCEPTED / "videos.parquet")
    catalogue = catalogue_of(landed, accepted, run.settings, Origin(run.checkout.run, run.code, run.clean))
    try:
        with run.timed("refresh"):
            made = refresh_live(
                run.books, run.registry, catalogue, run.params.refresh, lease=run.lease, run=run.checkout.run
            )
    except (LostLease, Overrun):
        raise
    except NightreelError as error:
        get_run_logger().error("new videos wait for the next night: %s", error)
        return outcome.model_copy(update={"refresh": str(error)})
    if made.status == "unchanged":
        return outcome
    said = f"{made.new} new videos went live with release {str(made.release)[:12]}, ledger entry {made.seq}"
    return outcome.model_copy(update={"refresh": said})


def _challenger(run: Night) -> str:
    return str(run.read(paths.INDEX_METRICS)["challenger"])


def _unchanged(run: Night, live: Entry) -> Outcome:
    """Nothing new to release. A night killed between its entry and the alias is finished here."""
    get_run_logger().info("the live release %s already serves this: nothing to do", live.release[:12])
    commit = run.record("unchanged")
    _remember_unjudged(run, commit)
    run.registry.mirror_once("champion", live.model_version, seq=live.seq)
    return _outcome(
        run, "unchanged", commit=commit, release=live.release, seq=live.seq, model_version=live.model_version
    )


def _erased_since(run: Night, live: Entry) -> bool:
    """Whether a viewer was erased whom the data of the live release still holds, so that it has to be replaced."""
    tonight = run.read(paths.LANDED).get("erasures", 0)
    if not tonight:
        return False
    return bool(read_json(run.books.releases.open(live.release) / "record/landed.json").get("erasures", 0) < tonight)


def _withdrawn(run: Night) -> str | None:
    """Why this may not go live by itself: a person rolled back from the very same bytes."""
    for release, entry in run.books.ledger.withdrawn().items():
        if serves_the_same(run.checkout.path, _challenger(run), run.books.releases.manifest(release)):
            return (
                f"{entry.by} rolled back from release {release[:12]}, which serves the same, in ledger entry "
                f"{entry.seq}: {entry.reason}. Only `nightreel promote` brings it back."
            )
    return None


def _rejected(run: Night) -> str | None:
    """Why nobody is asked about this again: a person rejected the very same bytes."""
    for asked, decided in rejected(Live(run.books, run.params.gate).approvals):
        if serves_the_same(run.checkout.path, _challenger(run), run.books.releases.manifest(asked.release)):
            return (
                f"{decided.by} rejected model version {asked.model_version}, which serves the same: {decided.reason}. "
                "Only `nightreel promote` makes it live."
            )
    return None


def _wait_for_a_person(run: Night, draft: Draft, head: Entry | None) -> str:
    """Ask for approval, with nothing held while it waits; until when, UTC, ISO 8601."""
    with run.timed("ask"):
        asked = ask_step(draft, head, Live(run.books, run.params.gate))
    get_run_logger().info("model version %s waits for approval until %s", asked.model_version, asked.until)
    return asked.until


def _verdict(run: Night, head: Entry | None) -> tuple[dict[str, Any], str]:
    """Evaluate the champion again, judge, and record the run; the verdict and the run's commit."""
    write_json(run.checkout.path / paths.CHAMPION, {"release": head.release if head else None})
    run.stage("champion")
    run.stage("gate")
    verdict = run.read(paths.VERDICT)
    create_markdown_artifact(verdict_markdown(verdict), key="verdict", description=run.checkout.run)
    rows = standings(run.checkout.path, run.params, failed=run.failed)
    create_markdown_artifact(standings_markdown(rows), key="candidates", description=run.checkout.run)
    word = "passed" if verdict["passed"] else "refused"
    get_run_logger().info("verdict: %s %s", verdict["challenger"], word)
    return verdict, run.record(f"{verdict['challenger']} {word}")


def _register(run: Night, commit: str, *, passed: bool) -> tuple[str, str]:
    """Publish the bundle (which changes nothing yet), attest and register it; model version and release."""
    with run.timed("register"), run.events.step("register") as told:
        folder = run.checkout.folder / "bundle"
        manifest = bundle(run.checkout.path, folder, params=run.params, code=run.code)
        release = run.books.releases.publish(folder, manifest)
        origin = Origin(run.checkout.run, commit, run.clean)
        attest(run.books.store, run.books.signer, folder, manifest, origin)
        tags = version_tags(manifest, commit=commit, run=run.checkout.run, passed=passed)
        version = register_step(run.checkout, folder, run.registry, tags)
        _remember(
            run,
            judged_record(
                run.checkout.path, manifest, origin, passed=passed, model_version=version, settings=run.settings
            ),
        )
        run.events.registered(told, commit, version, candidate=manifest.candidate)
        return version, release


def _remember(run: Night, record: RunRecord) -> None:
    """Leave what lineage is asked of; the record last, so that it never names an index that is not there."""
    put_index(run.books.store, run.name, record.snapshot, run.checkout.path / paths.SNAPSHOT_INDEX)
    put_record(run.books.store, record)


def _remember_unjudged(run: Night, commit: str) -> None:
    """Its data was trained on as well, if only to come to what there was before. Nothing is done twice."""
    if not has_record(run.books.store, run.name, run.checkout.run):
        origin = Origin(run.checkout.run, commit, run.clean)
        _remember(run, unjudged_record(run.checkout.path, origin, code=run.code, settings=run.settings))


def _warn_of_override(run: Night, live: Entry | None) -> None:
    """An override whose time is over is told of every night until a passing release has replaced it."""
    if live and live.lapsed(datetime.now(UTC).date()):
        run.override = (
            f"release {live.release[:12]} is live by an override of {live.by} that lapsed on {live.expires} "
            f"({live.reason}); no passing release has replaced it yet"
        )
        get_run_logger().warning(run.override)


def _outcome(run: Night, status: Status, *, verdict: Mapping[str, Any] = NO_VERDICT, **known: Any) -> Outcome:
    rows, index = run.read(paths.VALIDATION_METRICS)["rows"], run.read(paths.INDEX_METRICS)
    primary: Mapping[str, Any] = next((check for check in verdict["checks"] if check["name"] == "primary"), {})
    reasons = tuple(check["reason"] for check in verdict["checks"] if not check["passed"])
    facts = {
        "status": status,
        "name": run.name,
        "run": run.checkout.run,
        "as_of": str(run.read(paths.LANDED)["as_of"]),
        "rows": rows["events"]["raw"],
        "quarantined": sum(table["quarantined"] for table in rows.values()),
        "challenger": index["challenger"],
        "primary": run.params.evaluate.primary,
        "challenger_score": index["candidates"][index["challenger"]],
        "champion_score": primary.get("champion") if verdict["against"] == "champion" else None,
        "reasons": reasons,
        "failed_candidates": run.failed,
        "override": None if status == "released" else run.override,
        "seconds": run.seconds,
        "docs": str(run.checkout.path / paths.DOCS / "index.html"),
    }
    return Outcome.model_validate(facts | known)
