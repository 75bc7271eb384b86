"""Between models: the catalogue's new and changed videos are embedded by the live model and go live with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.leased import books_of, leased
from flows.outcome import Refreshed, Request
from flows.steps import land_step, release_step
from infra.checkout import IN_USE
from infra.disk import room_on
from infra.errors import BadInput, Refused
from infra.git import git, project_root, snapshot
from infra.locks import locked
from infra.registry import Registry
from infra.settings import Settings
from lineage.attestation import Origin, attest
from lineage.books import Books
from lineage.holding import Busy, Held
from lineage.ledger import Draft, Entry, LostRace
from tasks.landing import Landed, landing_folder
from tasks.media.sources import MediaSource, media_source
from tasks.params import Refresh, load_params
from tasks.quarantine import VIDEO_KEY, separate, video_rules
from tasks.refresh import Kept, is_refreshable
from tasks.refresh import refresh as next_generation
from tasks.shelves import open_shelves


@dataclass(frozen=True)
class Catalogue:
    """A validated catalogue.

    Attributes:
        source: what goes on record about where it came from.
        media: its video files, where there are any.
        origin: which run and code embed it.
    """

    accepted: pl.DataFrame
    source: Mapping[str, Any]
    origin: Origin
    media: MediaSource | None


@flow(name="refresh", flow_run_name="refresh-{request.source}", persist_result=False)
def refresh(request: Request) -> Refreshed:
    """Land the catalogue and bring the live release up to it, under the lease of its recommender.

    Raises:
        BadInput: nothing is live, the live model reads no content, or the source has no catalogue.
        Refused: the new generation failed its checks; the live release is as it was.
    """
    home, work = Settings().home_dir, f"a refresh from {request.path or request.source}"
    try:
        with room_on(home), leased(request, work, waits_for=lambda _: not request.scheduled) as lease:
            return _refresh(request, lease)
    except Busy as busy:
        return Refreshed(status="skipped", name=books_of(request).name, reason=str(busy))


def _refresh(request: Request, lease: Held) -> Refreshed:
    root, books = project_root(Path(request.root)), books_of(request)
    settings, name = books.settings, books.name
    params = load_params(root / "params.yaml", request.overrides)
    head = books.ledger.head()
    if request.scheduled and not (head and refreshes(books, head)):
        return Refreshed(status="skipped", name=name, reason="the live model, if any, reads no content of videos")
    with locked(settings.home_dir / IN_USE, shared=True):
        landed = land_step(request.source, request.path, name, settings, request.as_of)
        code = snapshot(root)
        origin = Origin(f"refresh-{landed.as_of}", code, code == git("rev-parse", "HEAD", at=root))
        catalogue = landed_catalogue(landed, settings, origin)
        if head is None:
            raise BadInput(f"Nothing is live for {name}, so there is nothing to refresh. Run `nightreel retrain`.")
        return refresh_live(books, Registry(settings, name), catalogue, params.refresh, lease=lease)


def landed_catalogue(landed: Landed, settings: Settings, origin: Origin) -> Catalogue:
    """The newest catalogue of the landing store, without its faulty rows. Raises `BadInput` when there is none."""
    part = next((part for part in landed.parts if part.table == "videos"), None)
    if part is None:
        raise BadInput(f"A refresh needs a catalogue of videos. Received: none from --source {landed.source}")
    rows = pl.read_parquet(landing_folder(settings, landed.name) / "files" / part.file)
    separated = separate(rows, video_rules(rows.columns), VIDEO_KEY)
    return catalogue_of(json.loads(landed.as_json()), separated.accepted, settings, origin)


def catalogue_of(landed: Mapping[str, Any], accepted: pl.DataFrame, settings: Settings, origin: Origin) -> Catalogue:
    """The catalogue among what has landed.

    Args:
        landed: what `data/landed.json` holds, a part with the table `videos` among it.
        accepted: its rows that are without fault.
        settings: where its video files are reached.
        origin: which run and code embed it.
    """
    part = next(part for part in landed["parts"] if part["table"] == "videos")
    facts = {"as_of": landed["as_of"], "sha256": part["sha256"], "origins": [file["uri"] for file in part["origins"]]}
    return Catalogue(accepted, facts, origin, media_source(landed, settings))


def refresh_live(
    books: Books,
    registry: Registry,
    catalogue: Catalogue,
    params: Refresh,
    *,
    lease: Held | None,
    run: str | None = None,
) -> Refreshed:
    """Make the next generation of whatever is live, and let it go live. Who loses a race looks again.

    Args:
        books, registry: of the recommender, of which something is live.
        catalogue: every video of now.
        params: what the new generation must hold.
        lease: under which it goes live.
        run: the night that this is a step of.
    """
    while True:
        head = books.ledger.proven_head()
        if head is None:
            raise BadInput(f"Nothing is live for {books.name}, so there is nothing to refresh.")
        made = embed_step(head, books, catalogue, params)
        if made is None:
            return Refreshed(status="unchanged", name=books.name, release=head.release, seq=head.seq)
        release, new = made
        known = head.model_dump(include={"model_version", "verdict", "commit"})
        reason = (
            f"{new} new videos, embedded by the live model" if new else "changed videos, embedded by the live model"
        )
        known |= {"run": run, "fence": lease.token if lease else None}
        draft = Draft(action="refresh", release=release, by=books.settings.who, reason=reason, **known)
        try:
            entry = release_step(draft, head, books, registry)
        except LostRace:
            get_run_logger().warning("another release went live first: refreshing that one")
            continue
        return Refreshed(status="refreshed", name=books.name, release=entry.release, seq=entry.seq, new=new)


@task(name="embed", task_run_name="embed new videos", cache_policy=NO_CACHE)
def embed_step(live: Entry, books: Books, catalogue: Catalogue, params: Refresh) -> tuple[str, int] | None:
    """Embed, check and publish, which changes nothing yet; the release and how many videos are new to it.

    Raises:
        Refused: a check failed, or a person rolled back from this very generation.
    """
    folder, manifest = books.releases.open(live.release), books.releases.manifest(live.release)
    work = books.settings.home_dir / "refresh" / books.name
    work.mkdir(parents=True, exist_ok=True)
    with locked(work / "lock"):
        kept = Kept(open_shelves(books.settings), work, catalogue.media)
        made = next_generation(folder, manifest, catalogue.accepted, kept, params=params, source=catalogue.source)
        if made is None:
            get_run_logger().info("release %s has every video as it is now", live.release[:12])
            return None
        out, generation = made
        if withdrawn := books.ledger.withdrawn().get(generation.release):
            raise Refused(f"{withdrawn.by} rolled back from this very generation: {withdrawn.reason}")
        release = books.releases.publish(out, generation)
        attest(books.store, books.signer, out, generation, catalogue.origin)
        new = pl.scan_parquet(out / "vocabulary.parquet").select(pl.len()).collect().item()
        old = pl.scan_parquet(folder / "vocabulary.parquet").select(pl.len()).collect().item()
        return release, int(new - old)


def refreshes(books: Books, live: Entry) -> bool:
    """Whether the live release's model embeds videos by their content."""
    return is_refreshable(books.releases.manifest(live.release))
