"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

import json
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.arrays import encode, rank
from flows.audit import audit
from flows.options import Json, NameOption
from infra.errors import BadInput, NightreelError, Unreachable

app = typer.Typer(
    name="nightreel",
    help="Retrain a video recommender every night and let nothing unproven reach viewers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(audit, name="audit")
app.command()(encode)
app.command()(rank)


class Source(StrEnum):
    """Where the data comes from."""

    movielens = "movielens"
    kuairand = "kuairand"
    files = "files"


class Split(StrEnum):
    """How a holdout is chosen."""

    last_out = "last-out"
    time = "time"
    random = "random"
    viewers = "viewers"


class Missed(StrEnum):
    """What a scheduled night does with those before it that never ran."""

    catch_up = "catch-up"
    skip = "skip"


SourceOption = Annotated[Source, typer.Option(help="Reader of the data.")]
PathOption = Annotated[
    str | None, typer.Option(help="Folder or s3://bucket/prefix; none means the MovieLens sample.", metavar="DIR|S3URL")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Set a parameter, such as train.ease.l2=100.", metavar="KEY=VALUE")
]
Day = Annotated[datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Last day the night may know.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the ledger.")]


@app.command()
def retrain(
    source: SourceOption = Source.movielens,
    path: PathOption = None,
    as_of: Day = None,
    overrides: SetOption = None,
    as_json: Json = False,
) -> None:
    """Run one night: land, validate, train, evaluate, gate, register, release."""
    from flows.run import run_night

    outcome = run_night(source.value, path, as_of and as_of.date(), overrides or [])
    from flows.views.night import show_outcome
    from flows.views.printing import show

    show(outcome.as_row(), show_outcome, as_json=as_json)
    raise typer.Exit(1 if outcome.status == "refused" else 0)


@app.command()
def refresh(
    source: SourceOption = Source.movielens,
    path: PathOption = None,
    as_of: Day = None,
    overrides: SetOption = None,
    as_json: Json = False,
) -> None:
    """Let the live model embed what is new in the catalogue, and make that live with it."""
    from flows.run import run_refresh

    outcome = run_refresh(source.value, path, as_of and as_of.date(), overrides or [])
    from flows.views.printing import show, show_fields

    show(outcome.model_dump(mode="json"), show_fields, as_json=as_json)


@app.command()
def replay(
    path: Annotated[str, typer.Option(help="Folder of the log.", metavar="DIR|S3URL")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First night.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last night.")],
    source: SourceOption = Source.kuairand,
    overrides: SetOption = None,
    as_json: Json = False,
) -> None:
    """Run one night a day over a real log, each knowing only what had landed by then."""
    from flows.run import run_replay
    from flows.views.night import show_replay
    from flows.views.printing import show

    outcomes = run_replay(source.value, path, first.date(), last.date(), overrides or [])
    show([outcome.as_row() for outcome in outcomes], show_replay, as_json=as_json)


@app.command()
def monitor(
    source: SourceOption = Source.movielens,
    path: PathOption = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="Last day to look at.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Leave a page with charts here.", metavar="FILE.html")] = None,
    prometheus: Annotated[
        Path | None, typer.Option(help="Leave the figures for node_exporter's textfile collector.", metavar="FILE")
    ] = None,
    overrides: SetOption = None,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Measure the live release on each new day, look for drift, and roll back where `monitor.rollback` says so."""
    from flows.run import run_monitor

    files = {"plot": plot, "prometheus": prometheus}
    watched = run_monitor(name, source.value, path, as_of and as_of.date(), overrides or [], **files)
    from flows.views.monitor import show_watched
    from flows.views.printing import show

    show(watched.model_dump(mode="json"), show_watched, as_json=as_json)
    raise typer.Exit(1 if watched.status in ("rolled back", "rollback refused") else 0)


@app.command()
def leaderboard(
    source: SourceOption = Source.movielens,
    path: PathOption = None,
    split: Annotated[Split, typer.Option(help="How the holdout is chosen.")] = Split.last_out,
    k: Annotated[int, typer.Option(min=1, help="List length.")] = 10,
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality against cost: .png, .svg or .pdf.", metavar="FILE")
    ] = None,
    overrides: SetOption = None,
    as_json: Json = False,
) -> None:
    """Train and evaluate every candidate; register and release nothing."""
    from flows.run import run_leaderboard
    from flows.views.leaderboard import show_leaderboard
    from flows.views.printing import show

    rows = run_leaderboard(source.value, path, split.value, k, overrides or [], plot=plot)
    show(rows, show_leaderboard, as_json=as_json)


@app.command()
def tune(
    candidate: Annotated[str, typer.Argument(help="Whose parameters to search over.")],
    trials: Annotated[int, typer.Option(help="Trials in all, those of a search that was stopped included.")] = 20,
    hours: Annotated[float, typer.Option(help="Time after which no further trial begins.")] = 1.0,
    source: SourceOption = Source.movielens,
    path: PathOption = None,
    overrides: SetOption = None,
    as_json: Json = False,
) -> None:
    """Search for better parameters of one candidate, and propose them as a diff to params.yaml."""
    from flows.run import run_tune

    tuned = run_tune(candidate, trials, hours, source.value, path, overrides or [])
    from flows.views.printing import show
    from flows.views.tune import show_tuned

    show(tuned.model_dump(mode="json"), show_tuned, as_json=as_json)


@app.command()
def schedule(
    cron: Annotated[str, typer.Option(help="When nights are, in cron's five fields, UTC.")] = "0 2 * * *",
    source: SourceOption = Source.movielens,
    path: PathOption = None,
    missed: Annotated[Missed, typer.Option(help="What becomes of nights whose time passed unused.")] = Missed.skip,
    limit_hours: Annotated[float | None, typer.Option(help="Stop a night that takes longer; its work is kept.")] = None,
    events: Annotated[
        str | None,
        typer.Option(
            help="S3 event notifications that tell of new partitions; none lists the source.", metavar="FILE|S3URL"
        ),
    ] = None,
    overrides: SetOption = None,
    pool: Annotated[str | None, typer.Option(help="Prefect work pool; none means that of `nightreel worker`.")] = None,
    as_json: Json = False,
) -> None:
    """Make the Prefect deployments of a source: nights, refreshes, proofs, and nights when data arrives."""
    from flows.run import make_schedule
    from flows.views.printing import show, show_fields

    made = make_schedule(
        cron,
        source.value,
        path,
        overrides or [],
        missed=missed.value,
        limit_hours=limit_hours,
        events=events,
        pool=pool,
    )
    show(made, show_fields, as_json=as_json)


@app.command()
def worker(
    pool: Annotated[
        str | None, typer.Option(help="Prefect work pool; none means scheduled nights', `gpu` their training.")
    ] = None,
    with_healthcheck: Annotated[
        bool, typer.Option("--with-healthcheck", help="Answer GET /health at port 8080, for containers.")
    ] = False,
) -> None:
    """Run scheduled nights as they come due, each in a process of its own, until interrupted."""
    from flows.run import run_worker

    run_worker(pool, healthcheck=with_healthcheck)


@app.command()
def recommend(
    user: Annotated[str, typer.Option(help="The viewer's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many videos.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Name the watched videos that carried each one.")] = False,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Show what a viewer would be shown now, from the live release and nothing else."""
    from flows.live import Live
    from flows.views.printing import show
    from flows.views.recommended import show_recommended

    live = Live.open(name)
    head, bundle = live.bundle()
    answer = bundle.recommend(user, k=k, explain=explain)
    row = {"user": user, "release": head.release, "seq": head.seq, "reason": answer.reason}
    row["signature"] = live.signature(head.release)
    show(row | {"videos": answer.videos}, show_recommended, as_json=as_json)


@app.command()
def profile(
    user: Annotated[str, typer.Option(help="The viewer's id.")],
    private: Annotated[bool, typer.Option("--private", help="Leave out what was watched and when.")] = False,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Show what the live release knows of a viewer: interests, activity, habits."""
    from flows.live import Live
    from flows.views.printing import show
    from flows.views.profile import show_profile

    head, bundle = Live.open(name).bundle()
    told = bundle.profile(user, private=private)
    show({"user": None if private else user, "release": head.release} | told, show_profile, as_json=as_json)


@app.command()
def video(
    video: Annotated[str, typer.Argument(help="The video's id.")], name: NameOption = None, as_json: Json = False
) -> None:
    """Show what is known of a video: catalogue, tags, key frames, and what is said."""
    from flows.live import Live
    from flows.video import describe_video
    from flows.views.printing import show
    from flows.views.video import show_video

    show(describe_video(Live.open(name), video), show_video, as_json=as_json)


@app.command()
def regions(
    plot: Annotated[
        Path | None, typer.Option(help="Leave a heat map of regions by hour here.", metavar="FILE.png")
    ] = None,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Show where and when the newest night's viewers watch: flows between regions, hot spots by hour."""
    from flows.regions import describe_regions, draw_regions, newest_regions
    from flows.views.printing import show
    from flows.views.regions import show_regions
    from infra.settings import Settings

    night = newest_regions(Settings(), name)
    if plot:
        draw_regions(night, plot)
    show(describe_regions(night), show_regions, as_json=as_json)


@app.command()
def releases(name: NameOption = None, as_json: Json = False) -> None:
    """List every ledger entry: what went live, when, by whom and why."""
    from flows.live import Live
    from flows.views.printing import show
    from flows.views.releases import show_releases

    show(Live.open(name).entered(), show_releases, as_json=as_json)


@app.command("show")
def show_release(
    release: Annotated[str, typer.Argument(help="A release's id, or its first characters.")],
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Show one release: what it is made of, its verdict, when it was live."""
    from flows.live import Live
    from flows.views.printing import show
    from flows.views.releases import show_manifest

    show(Live.open(name).describe(release), show_manifest, as_json=as_json)


@app.command()
def status(name: NameOption = None, as_json: Json = False) -> None:
    """Say what is live, what waits for a person, and which services run."""
    from flows.live import Live
    from flows.stack import stack_status
    from flows.status import status_of
    from flows.views.printing import show, show_fields
    from flows.views.stack import show_stack

    stack = stack_status()
    if stack is None:
        show(status_of(Live.open(name)), show_fields, as_json=as_json)
        return
    try:
        live = status_of(Live.open(name))
    except (BadInput, Unreachable) as error:  # a new stack serves nothing yet, and one that is down cannot say
        live = {"live": str(error)}
    if as_json:
        show(live | stack, show_fields, as_json=True)
    else:
        show(stack, show_stack, as_json=False)
        show(live, show_fields, as_json=False)
    raise typer.Exit(0 if all(each["state"] == "ready" for each in stack["services"]) else 2)


@app.command()
def up(
    external: Annotated[
        bool,
        typer.Option("--external", help="Start the worker alone, for services that the environment names."),
    ] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay and tell what starts and ends.")] = False,
    as_json: Json = False,
) -> None:
    """Start S3, PostgreSQL, MLflow, Prefect and a worker on this machine, and keep them running."""
    from flows.stack import bring_up
    from flows.views.printing import show
    from flows.views.stack import show_stack

    said = bring_up(external=external, foreground=foreground, told=lambda line: typer.echo(line, err=True))
    show(said, show_stack, as_json=as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop what `up` started; its data stays."""
    from flows.stack import take_down
    from flows.views.printing import show, show_fields

    show(take_down(), show_fields, as_json=as_json)


@app.command()
def promote(
    model_version: Annotated[str, typer.Argument(help="Number of a model version in MLflow.")],
    reason: Reason,
    override: Annotated[bool, typer.Option("--override", help="Promote although it did not pass the gate.")] = False,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="With --override: last day that it is meant for.")
    ] = None,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Make a model version that passed the gate live; past the gate only by an override that expires."""
    from flows.live import Live
    from flows.views.printing import show, show_fields

    if override != (expires is not None):
        raise BadInput("--override and --expires go together: an override has a last day.")
    live = Live.open(name)
    entry = live.promote(model_version, reason=reason, override_until=expires.date() if expires else None)
    show(live.signed(entry), show_fields, as_json=as_json)


@app.command()
def approve(
    model_version: Annotated[str, typer.Argument(help="Number of the model version that waits.")],
    reason: Reason,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Approve a challenger that passed the gate and waits; it goes live now."""
    from flows import approving
    from flows.live import Live
    from flows.views.printing import show, show_fields

    live = Live.open(name)
    entry = approving.approve(model_version, live, by=live.settings.who, reason=reason)
    show(live.signed(entry), show_fields, as_json=as_json)


@app.command()
def reject(
    model_version: Annotated[str, typer.Argument(help="Number of the model version that waits.")],
    reason: Reason,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Reject a challenger that waits; nights do not ask for the same again."""
    from flows import approving
    from flows.live import Live
    from flows.views.printing import show, show_fields

    live = Live.open(name)
    decided = approving.reject(model_version, live, by=live.settings.who, reason=reason)
    show(decided.model_dump() | {"model version": model_version}, show_fields, as_json=as_json)


@app.command()
def reconcile(name: NameOption = None, as_json: Json = False) -> None:
    """Answer what people asked for in MLflow, and restore what they deleted there of the live model; one pass."""
    from flows.run import run_reconcile
    from flows.views.findings import show_findings
    from flows.views.printing import show

    show([finding.as_row() for finding in run_reconcile(name)], show_findings, as_json=as_json)


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=0, help="How many releases that were live to keep beside the live one.")] = 5,
    apply: Annotated[bool, typer.Option("--apply", help="Remove what can go.")] = False,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Show or remove what neither the live release, the last ones nor those on legal hold need."""
    from flows.gc import Collector
    from flows.views.gc import show_collection
    from flows.views.printing import show

    show(Collector.of(name).collect(keep, apply=apply), show_collection, as_json=as_json)


@app.command()
def rollback(
    reason: Reason,
    to: Annotated[int | None, typer.Option(help="Ledger entry to go back to; none means the one before.")] = None,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Go back to an earlier release."""
    from flows.live import Live
    from flows.views.printing import show, show_fields

    live = Live.open(name)
    show(live.signed(live.rollback(to, reason=reason)), show_fields, as_json=as_json)


def main() -> None:
    """Run the command line; a `NightreelError` ends in its sentence and its exit code."""
    try:
        app()
    except NightreelError as error:
        said = str(error)
        if isinstance(error, Unreachable):
            from flows.stack import hint

            said += hint()
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": type(error).__name__, "message": said}))
        else:
            typer.secho(f"{type(error).__name__}: {said}", err=True, fg=typer.colors.RED)
        sys.exit(error.exit_code)
