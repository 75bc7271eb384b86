"""What the live release meets and does on the days since it was trained, one window of days after the other."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl

from infra.errors import Refused
from lineage.canonical import canonical, sha256, utc_now
from lineage.manifest import Manifest
from lineage.releases import Releases
from lineage.windows import Drift, Window
from models.params import PopularityParams
from models.sequences import Sequences
from tasks.champion import release_ranker
from tasks.delayed_truth import Known, Truth, lay_out, measure, measured, measures
from tasks.evaluate import Evaluation
from tasks.event_profile import POPULARITY, Profile
from tasks.ingest import ingest
from tasks.landing import Landed
from tasks.list_drift import list_drift, lists_of
from tasks.metrics import RANKING
from tasks.monitor_params import Monitor
from tasks.params import Params
from tasks.prepare import FIRST_SEEN, TRAIN_EVENTS
from tasks.prepared import Prepared
from tasks.quarantine import Separated
from tasks.ranker import Ranker
from tasks.raw import read_raw, schema_faults
from tasks.refresh import Kept, is_refreshable, recorded_params
from tasks.schema import Events, Users, Videos
from tasks.validate import separate_tables
from tasks.video_drift import catalogue_drift

Days = tuple[date, date]


@dataclass(frozen=True)
class Incoming:
    """All that has landed, its faulty rows apart as a night parts them.

    Attributes:
        events: accepted and quarantined.
        catalogue: accepted videos.
        days: every landed day, oldest first, with rows and digest of its content.
    """

    events: Separated
    catalogue: pl.DataFrame
    days: Mapping[date, tuple[int, str]]

    def until(self, last: date) -> list[list[str | int]]:
        """Day, rows and digest of what has landed up to the day `last`."""
        return [[str(day), *of] for day, of in self.days.items() if day <= last]


@dataclass(frozen=True)
class Subject:
    """A release that is watched.

    Attributes:
        folder: its verified files.
        params: those that it was trained with.
    """

    manifest: Manifest
    folder: Path
    params: Params

    @classmethod
    def open(cls, release: str, releases: Releases) -> "Subject":
        """The release `release`. Raises `Refused` when it is damaged, `BadInput` when its parameters are unknown."""
        folder = releases.open(release)
        return cls(releases.manifest(release), folder, recorded_params(folder))

    @cached_property
    def vocabulary(self) -> pl.DataFrame:
        """Row `i` is video index `i` of the model."""
        return pl.read_parquet(self.folder / "vocabulary.parquet")

    @cached_property
    def viewers(self) -> pl.Series:
        """Ids, by viewer index."""
        return pl.read_parquet(self.folder / "viewers.parquet")[Users.ID]

    @property
    def popularity(self) -> pl.DataFrame:
        """`video_id`, `video_popularity`: how often each video of the training data was watched."""
        watched = self.vocabulary.filter(pl.col(FIRST_SEEN).is_not_null())
        return watched.select(Videos.ID, pl.col(TRAIN_EVENTS).alias(POPULARITY))

    @property
    def known(self) -> Known:
        """Whom and what it has met."""
        return Known(self.viewers, self.vocabulary[Videos.ID])


def read_incoming(landed: Landed, landing: Path, work: Path) -> Incoming:
    """Lay out what has landed in the folder `work` and part it as `tasks.validate` does.

    Raises:
        Refused: columns or types break the contract.
    """
    listed = work / "landed.json"
    listed.write_text(landed.as_json(), encoding="utf-8")
    ingest(listed, landing, work / "raw")
    frames, faults = read_raw(work / "raw")
    if faults := faults or schema_faults(frames):
        raise Refused(f"What has landed cannot be watched: {'; '.join(faults)}.")
    tables = separate_tables(frames, as_of=landed.as_of)
    events = tables["events"]
    catalogue = tables["videos"].accepted if "videos" in tables else events.accepted.select(Events.VIDEO).unique()
    days = {day: (of.rows, of.digest) for part in landed.parts for day, of in part.days.items()}
    return Incoming(events, catalogue, {day: days[day] for day in sorted(days)})


def new_windows(
    subject: Subject, incoming: Incoming, work: Path, *, after: date, min_viewers: int
) -> Iterator[tuple[Days, Truth]]:
    """The days after `after`, each with the next ones until enough viewers can be judged; days too few are left.

    A window's layout in `work` stands until the next one is asked for.
    """
    first: date | None = None
    for day in (day for day in incoming.days if day > after):
        first = first or day
        truth = laid_out(subject, incoming, work, (first, day))
        if truth.judged >= min_viewers:
            yield (first, day), truth
            first = None


def laid_out(subject: Subject, incoming: Incoming, work: Path, days: Days) -> Truth:
    """One window of the viewers that `subject` knows."""
    events, prepare = incoming.events.accepted, subject.params.prepare
    return lay_out(work / "window", events, incoming.catalogue, days, subject.known, prepare)


@dataclass(frozen=True)
class Watch:
    """What windows are measured with.

    Attributes:
        subject: the release.
        releases: where releases lie.
        profile: what it was trained on.
        params: the bounds.
        counted: the popularity that releases are compared with, the same for each of them.
        kept: what has been encoded of videos.
    """

    subject: Subject
    releases: Releases
    profile: Profile
    params: Monitor
    counted: PopularityParams
    kept: Kept

    def inputs(self, incoming: Incoming, last: date) -> str:
        """SHA-256 of all that a window up to the day `last` is measured from."""
        with_what = [self.counted.model_dump(mode="json"), self.params.significance, self.params.usual_days]
        return sha256(canonical([incoming.until(last), *with_what]))

    def catalogue_drift(self, catalogue: pl.DataFrame) -> list[Drift]:
        """Of new videos, where the release reads what videos show and say; of `catalogue` as it is now."""
        if not is_refreshable(self.subject.manifest):
            return []
        vocabulary, significance = self.subject.vocabulary, self.params.significance
        return catalogue_drift(vocabulary, catalogue, self.kept, self.subject.params, significance=significance)


def measure_window(watch: Watch, incoming: Incoming, truth: Truth, days: Days, *, videos: Sequence[Drift]) -> Window:
    """What the release did in a window, and how far the window, and `videos`, stray from what it was trained on."""
    subject = watch.subject
    ranker, _ = release_ranker(subject.manifest.release, watch.releases, truth.prepared)
    live, popular = measured(ranker, truth, subject.params.evaluate, counted=watch.counted)
    primary, ks = subject.params.evaluate.primary, subject.params.evaluate.ks
    names = [f"{metric}@{k}" for metric in RANKING for k in ks]
    within = pl.col(Events.DAY).is_between(*days)
    return Window(
        release=subject.manifest.release,
        first=str(days[0]),
        last=str(days[1]),
        inputs=watch.inputs(incoming, days[1]),
        events=incoming.events.accepted.filter(within).height,
        quarantined=incoming.events.quarantined.filter(within).height,
        viewers=truth.judged,
        unknown_viewers=truth.unknown_viewers,
        unknown_videos=truth.unknown_videos,
        primary=primary,
        live=measures(live, names),
        popularity=measures(popular, names),
        gain=measure((live.viewers[primary] - popular.viewers[primary]).to_numpy()),
        drift=(*_event_drift(watch, incoming, days), *videos, *_list_drift(subject, ranker, truth, live)),
        at=utc_now(),
    )


def _event_drift(watch: Watch, incoming: Incoming, days: Days) -> list[Drift]:
    events, day = incoming.events.accepted, pl.col(Events.DAY)
    trained = events.filter(day <= date.fromisoformat(watch.subject.manifest.as_of))
    rows = events.filter(day.is_between(*days))
    return watch.profile.drift(rows, watch.subject.popularity, trained[Events.VIDEO].unique(), watch.params)


def _list_drift(subject: Subject, ranker: Ranker, truth: Truth, live: Evaluation) -> list[Drift]:
    """The lists of the window's viewers by the histories that the release holds, and by those of now."""
    prepared, k = truth.prepared, int(subject.params.evaluate.primary.partition("@")[2])
    own = pl.DataFrame({Users.ID: subject.viewers}).with_row_index("own")
    viewers = live.viewers.join(own, on=Users.ID, maintain_order="left")
    then = _in_videos_of(
        prepared, subject, Sequences.load(subject.folder / "sequences").take(viewers["own"].to_numpy())
    )
    now = prepared.history().take(viewers["viewer"].to_numpy())
    watched = prepared.videos.join(subject.popularity, on=Videos.ID, how="left", maintain_order="left")
    counts = watched[POPULARITY].fill_null(0).to_numpy()
    return list_drift(lists_of(ranker, now, k), lists_of(ranker, then, k), counts)


def _in_videos_of(prepared: Prepared, subject: Subject, histories: Sequences) -> Sequences:
    """`histories` of the release, in the window's video indices; what is gone is left out."""
    place = prepared.videos.select(Videos.ID).with_row_index("now")
    index = subject.vocabulary.select(Videos.ID).join(place, on=Videos.ID, how="left", maintain_order="left")["now"]
    to_now = index.cast(pl.Int32).fill_null(-1).to_numpy()
    there = histories.where(to_now[histories.videos] >= 0)
    return replace(there, videos=to_now[there.videos])


def days_of(window: Window) -> Days:
    """First and last day of a window."""
    return date.fromisoformat(window.first), date.fromisoformat(window.last)


def clear(work: Path) -> Path:
    """The folder `work`, empty."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work
