"""Watching what is live: each new day against what the release was trained on, and a rollback where that is set."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.live import Live
from flows.monitor_results import log_windows
from flows.outcome import SourceKind, Watched
from flows.steps import land_step
from flows.take_back import Watching, judged_until, take_back
from flows.views.monitor_page import monitor_markdown
from infra.disk import room_on
from infra.errors import BadInput, Refused
from infra.git import project_root
from infra.locks import locked
from lineage.ledger import Entry
from lineage.manifest import SNAPSHOT_PART
from lineage.recorded import Recorded
from lineage.windows import Drift, Window, get_reference, get_window, put_reference, put_window, windows
from tasks.auto_rollback import broken, refuse_unknown_metric
from tasks.event_profile import Profile
from tasks.landing import Landed, landing_folder
from tasks.media.sources import media_source
from tasks.monitor import Incoming, Subject, Watch, clear, measure_window, new_windows, read_incoming
from tasks.monitor_charts import charted
from tasks.monitor_params import Monitor
from tasks.params import Params, load_params
from tasks.refresh import Kept
from tasks.shelves import open_shelves
from tasks.stage import read_json

EVENTS = "data/accepted/events.parquet"


@dataclass(frozen=True)
class Measured:
    """What was looked at.

    Attributes:
        after: the last day that says nothing of the live release.
        windows: of the live release, oldest first; `new` of them measured now.
        waiting: days with too few viewers.
    """

    after: date
    windows: list[Window]
    new: int
    waiting: list[str]


@flow(name="watch-live", flow_run_name="watch-{source}", persist_result=False)
def watch_live(
    root: str,
    name: str | None = None,
    source: SourceKind = "movielens",
    path: str | None = None,
    as_of: date | None = None,
    overrides: Sequence[str] = (),
) -> Watched:
    """Measure the live release on each day that has landed since it was trained, and take it back where that is set.

    Args:
        root: the checkout.
        name: the recommender; None: the one of `params.yaml`, else the only one.
        source: which reader lands the data.
        path: its folder or `s3://` prefix, as for a night.
        as_of: the last day to look at.
        overrides: `key=value` settings of parameters.

    Raises:
        BadInput: nothing is live, or the source is not the one that the release was trained on.
        Refused: what has landed breaks the contract, or what the release was trained on is gone or damaged.
    """
    checkout = project_root(Path(root))
    live, params = Live.open(name, root=checkout), load_params(checkout / "params.yaml", overrides)
    with room_on(live.settings.home_dir):
        head, bundle = live.bundle()
        _refuse_other(source, bundle.folder)
        landed = land_step(source, path, live.name, live.settings, as_of)
        folder = live.settings.home_dir / "monitor" / live.name
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            try:
                watched = _watch(live, head, params, checkout, landed, clear(folder / "work"))
            finally:
                clear(folder / "work")  # rows of viewers, where no erasure would look for them
    log_windows(live.registry, watched)
    create_markdown_artifact(monitor_markdown(watched), key="monitor", description=watched.release)
    return watched


def _refuse_other(source: str, release: Path) -> None:
    trained = str(read_json(release / "record/landed.json")["source"])
    if trained != source:
        raise BadInput(f"--source must be {trained}, which the live release was trained on. Received: {source}")


def _watch(live: Live, head: Entry, params: Params, root: Path, landed: Landed, work: Path) -> Watched:
    """Measure, judge, and go back where that is due."""
    subject, rule = Subject.open(head.release, live.releases), params.monitor.rollback
    refuse_unknown_metric(rule, subject.params.evaluate)
    profile = _profile(live, head, subject, params.monitor, root)
    incoming = read_step(landed, landing_folder(live.settings, live.name), work)
    kept = Kept(open_shelves(live.settings), work, media_source(json.loads(landed.as_json()), live.settings))
    watch = Watch(subject, live.releases, profile, params.monitor, params.train.popularity, kept)
    after = max(date.fromisoformat(subject.manifest.as_of), judged_until(live, head))
    measured = measure_step(watch, live, incoming, work, after)
    past = windows(live.books.store, live.name)
    told = _told(live, head, subject, measured, past, params.monitor)
    if rule is None or not measured.windows:
        return told
    found = broken(measured.windows, past, params.monitor, rule)
    return take_back(told, found, rule, Watching(live, head, subject, incoming, work)) if found.due else told


@task(name="read", task_run_name="read what has landed", cache_policy=NO_CACHE)
def read_step(landed: Landed, landing: Path, work: Path) -> Incoming:
    """Part what has landed into fit and faulty rows."""
    incoming = read_incoming(landed, landing, work)
    get_run_logger().info("%d events, %d faulty", incoming.events.accepted.height, incoming.events.quarantined.height)
    return incoming


@task(name="measure", task_run_name="measure the live release", cache_policy=NO_CACHE)
def measure_step(watch: Watch, live: Live, incoming: Incoming, work: Path, after: date) -> Measured:
    """Measure the days after `after`; those that were measured before are found."""
    release, store = watch.subject.manifest.release, live.books.store
    found: list[Window] = []
    new, last = 0, after
    videos: list[Drift] | None = None
    for days, truth in new_windows(watch.subject, incoming, work, after=after, min_viewers=watch.params.min_viewers):
        first, last = days
        window = get_window(store, live.name, release, str(first), str(last), watch.inputs(incoming, last))
        if window is None:
            videos = watch.catalogue_drift(incoming.catalogue) if videos is None else videos
            window, new = measure_window(watch, incoming, truth, days, videos=videos), new + 1
            put_window(store, live.name, window)
            primary = window.primary
            said = "%s to %s: %s %.4f, popularity %.4f, %d viewers"
            means = (window.live[primary].mean, window.popularity[primary].mean)
            get_run_logger().info(said, first, last, primary, *means, window.viewers)
        found.append(window)
    return Measured(after, found, new, [str(day) for day in incoming.days if day > last])


def _profile(live: Live, head: Entry, subject: Subject, params: Monitor, root: Path) -> Profile:
    """What the data of the release looked like; made once of the snapshot that DVC keeps, then found in the store."""
    snapshot = subject.manifest.parts[SNAPSHOT_PART].sha256 if SNAPSHOT_PART in subject.manifest.parts else ""
    kept = get_reference(live.books.store, live.name, snapshot, params.usual_days) if snapshot else None
    if kept is not None:
        return Profile.read(kept)
    if head.commit is None:
        raise Refused(f"Ledger entry {head.seq} names no commit, so nothing says what its release was trained on.")
    recorded = Recorded.open(head.release, head.commit, live.books, root)
    with TemporaryDirectory() as folder:
        events = recorded.whole(EVENTS, Path(folder) / "events.parquet")
        if events is None:
            raise Refused(
                f"What release {head.release[:12]} was trained on is gone: no copy of {EVENTS} of run commit "
                f"{head.commit[:12]} is in the DVC cache or remote."
            )
        profile = Profile.of(pl.read_parquet(events), subject.popularity, usual_days=params.usual_days)
    put_reference(live.books.store, live.name, snapshot, params.usual_days, profile.as_json())
    return profile


def _told(
    live: Live, head: Entry, subject: Subject, measured: Measured, past: Sequence[Window], params: Monitor
) -> Watched:
    rows, drift, said = charted(measured.windows, past, params)
    if not measured.windows:
        said = [f"Nothing new: no day after {measured.after} can be judged yet."]
    return Watched(
        status="watched" if measured.windows else "nothing new",
        name=live.name,
        release=head.release,
        seq=head.seq,
        candidate=subject.manifest.candidate,
        as_of=subject.manifest.as_of,
        primary=subject.params.evaluate.primary,
        new=measured.new,
        windows=tuple(rows),
        drift=tuple(drift),
        waiting=tuple(measured.waiting),
        said=tuple(said),
    )
