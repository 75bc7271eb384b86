"""One night: from raw logs to a live release, or a reasoned refusal that leaves the live release as it was."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.futures import PrefectFuture

from flows.judging import judge_and_release, outcome_of, with_new_videos
from flows.leased import books_of, day_of, leased, work_of
from flows.limit import Limit, Overrun
from flows.night_run import Night, opened
from flows.notices import drift_told, tell_outcome, trouble_told
from flows.outcome import Outcome, Request
from flows.steps import candidates_step, reach_step
from infra.disk import room_on
from infra.settings import Settings
from lineage.holding import Busy, Held
from lineage.lease import Lease
from models.catalogue import NEURAL
from tasks.stage import write_json


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
    with limit.limited(runs), opened(request, lease, limit) as run:
        if not run.is_trained():
            registry = reach_step.submit(run.registry)  # beside validation, and known to be there before training
            try:
                with drift_told(run.settings, run.name, run.checkout.path):
                    _prepare(run)
            finally:
                _await([registry])
            registry.result()
            _train(run)
        outcome = with_new_videos(run, judge_and_release(run))
        write_json(run.checkout.folder / "outcome.json", outcome.as_row())
        tell_outcome(run.settings, outcome)
        return outcome


@flow(name="leaderboard", flow_run_name="leaderboard-{request.source}", persist_result=False)
def measure(request: Request) -> Outcome:
    """Train and evaluate every candidate and stop there: nothing is registered, nothing goes live."""
    with room_on(Settings().home_dir), opened(request) as run:
        if not run.is_trained():
            _prepare(run)
            _train(run)
        return outcome_of(run, "measured", commit=run.record("measured"))


@flow(name="prepare", flow_run_name="prepare-{request.source}", persist_result=False)
def prepare_data(request: Request, encode: bool) -> Path:
    """Bring a night as far as its training data, encoded too where asked, and stop there; the checkout."""
    with room_on(Settings().home_dir), opened(request) as run:
        _prepare(run)
        if encode:
            run.stage("encode")
        return run.checkout.path


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
