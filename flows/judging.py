"""The end of a night: its challenger against what is live, a release or a reason why not."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.limit import Overrun
from flows.live import Live
from flows.night_run import Night
from flows.outcome import Outcome, Status
from flows.refresh import catalogue_of, refresh_live, refreshes
from flows.steps import ask_step, register_step, release_step
from flows.views.verdict_page import standings_markdown, verdict_markdown
from infra.errors import NightreelError
from lineage.approvals import rejected
from lineage.attestation import Origin, attest
from lineage.canonical import sha256_of_file
from lineage.lease import LostLease
from lineage.ledger import Draft, Entry, LostRace
from lineage.runs import RunRecord, has_record, put_record
from lineage.snapshots import put_index
from tasks import paths
from tasks.bundle import bundle, serves_the_same
from tasks.register import version_tags
from tasks.run_record import judged_record, unjudged_record
from tasks.stage import read_json, write_json
from tasks.standings import standings

NO_VERDICT: Mapping[str, Any] = {"checks": [], "against": None}


def judge_and_release(run: Night) -> Outcome:
    """Gate against whatever is live, and go live. Who loses a race against another run gates again."""
    while True:
        head = run.books.ledger.proven_head()
        _warn_of_override(run, head)
        if head and _serves_the_same(run, head) and not _erased_since(run, head):
            return _unchanged(run, head)
        if reason := _withdrawn(run) or _rejected(run):
            commit = run.record("withdrawn")
            _remember_unjudged(run, commit)
            return outcome_of(run, "refused", commit=commit, reasons=(reason,))
        verdict, commit = _verdict(run, head)
        version, release = _register(run, commit, passed=verdict["passed"])
        judged: dict[str, Any] = {"verdict": verdict, "commit": commit, "model_version": version}
        if not verdict["passed"]:
            return outcome_of(run, "refused", **judged)
        draft = _draft(run, commit, version, release)
        if run.params.gate.approval == "required":
            until = _wait_for_a_person(run, draft, head)
            return outcome_of(run, "waiting", **judged, release=release, until=until)
        try:
            with run.timed("release"), run.events.step("release") as told:
                entry = release_step(draft, head, run.books, run.registry)
                run.events.released(told, entry)
        except LostRace:
            get_run_logger().warning("another run went live first, so the verdict is stale: gating again")
            continue
        return outcome_of(run, "released", **judged, release=release, seq=entry.seq)


def with_new_videos(run: Night, outcome: Outcome) -> Outcome:
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


def _serves_the_same(run: Night, live: Entry) -> bool:
    return serves_the_same(run.checkout.path, _challenger(run), run.books.releases.manifest(live.release))


def _unchanged(run: Night, live: Entry) -> Outcome:
    """Nothing new to release. A night killed between its entry and the alias is finished here."""
    get_run_logger().info("the live release %s already serves this: nothing to do", live.release[:12])
    commit = run.record("unchanged")
    _remember_unjudged(run, commit)
    run.registry.mirror_once("champion", live.model_version, seq=live.seq)
    return outcome_of(
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


def _draft(run: Night, commit: str, version: str, release: str) -> Draft:
    """The ledger entry that would make `release` live."""
    return Draft(
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


def outcome_of(run: Night, status: Status, *, verdict: Mapping[str, Any] = NO_VERDICT, **known: Any) -> Outcome:
    """How the run ended.

    Args:
        run: as far as it came, its challenger's index included.
        status: in a word.
        verdict: of the gate, where it was asked.
        known: the rest of `Outcome`.
    """
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
