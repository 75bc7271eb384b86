"""The auditor's commands: `nightreel audit ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.options import Json, NameOption
from infra.errors import BadInput

if TYPE_CHECKING:
    from lineage.impact import Query

audit = typer.Typer(help="Prove what was trained on what.", no_args_is_help=True)

HoldReason = Annotated[str, typer.Option("--reason", help="Why; it is kept for good.")]
Release = Annotated[str, typer.Argument(help="A release's id, or its first characters.")]


@audit.command("trace")
def trace_release(release: Release, name: NameOption = None, as_json: Json = False) -> None:
    """Walk back from a release: ledger, verdict, model, run, commits, stages, snapshot, and each source file."""
    from flows.live import Live
    from flows.views.audit import show_trace
    from flows.views.printing import show
    from lineage.trace import trace

    live = Live.open(name)
    traced = trace(release, ledger=live.ledger, releases=live.releases, store=live.books.store)
    show(traced, show_trace, as_json=as_json)


@audit.command("impact")
def impact_of(
    file: Annotated[str | None, typer.Option(help="Source or landed file: path, URL, SHA-256 or ETag.")] = None,
    user: Annotated[str | None, typer.Option(help="A viewer's id.")] = None,
    video: Annotated[str | None, typer.Option(help="A video's id.")] = None,
    day: Annotated[str | None, typer.Option(help="A day of events.", metavar="DATE")] = None,
    commit: Annotated[str | None, typer.Option(help="Commit of the code or of a run.", metavar="SHA")] = None,
    package: Annotated[str | None, typer.Option(help="A package that ran.", metavar="NAME==VERSION")] = None,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Walk forward from one thing to every snapshot, model version, release and ledger interval that it reached."""
    query = _query(file=file, user=user, video=video, day=day, commit=commit, package=package)
    from flows.live import Live
    from flows.views.audit import show_impact
    from flows.views.printing import show
    from lineage.impact import impact

    live = Live.open(name)
    show(impact(query, ledger=live.ledger, store=live.books.store), show_impact, as_json=as_json)


@audit.command("reproduce")
def reproduce_release(
    release: Release,
    commit: Annotated[
        str | None, typer.Option(help="Take another commit's code and parameters.", metavar="SHA")
    ] = None,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Rebuild a release in a clean clone from its recorded data, and compare it bit by bit."""
    from flows.live import Live
    from flows.views.printing import show
    from flows.views.reproduce import show_reproduction
    from infra.log import log_to
    from infra.settings import git_common_dir
    from lineage.reproduce import reproduce

    log_to(None)
    live = Live.open(name)
    result = reproduce(release, live.books, repository=git_common_dir(), commit=commit)
    signature = live.signature(result.release)
    show(result.as_row() | {"signature": signature}, show_reproduction, as_json=as_json)
    raise typer.Exit(0 if result.reproduced else 1)


def _query(**asked: str | None) -> "Query":
    """The one thing that is asked about. Raises `BadInput` for none or several."""
    from lineage.impact import KINDS, Query

    given = {kind: text for kind, text in asked.items() if text is not None}
    if len(given) != 1:
        options = ", ".join(f"--{kind}" for kind in KINDS)
        found = ", ".join(f"--{kind}" for kind in given) or "none"
        raise BadInput(f"Impact is asked about exactly one of {options}. Received: {found}")
    return next(Query.of(kind, given[kind]) for kind in KINDS if kind in given)


@audit.command()
def verify(
    release: Annotated[str, typer.Argument(help="A release's id, its first characters, or `all`.")] = "all",
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Prove it again from the bytes: digests, signatures, the chain, MLflow's alias, what DVC keeps."""
    from flows.live import Live
    from flows.verify import verify
    from flows.views.printing import show
    from flows.views.verify import show_verification

    done = verify(Live.open(name), release)
    show(done.model_dump(), show_verification, as_json=as_json)
    raise typer.Exit(1 if done.findings else 0)


@audit.command()
def key(as_json: Json = False) -> None:
    """Show the public key that this machine signs with, to be handed to those who are to trust it."""
    from flows.views.printing import show
    from flows.views.verify import show_key
    from infra.settings import Settings
    from lineage.keys import public_pem, signer

    own = signer(Settings())
    show({"keyid": own.keyid, "generated_here": own.local, "public_key": public_pem(own)}, show_key, as_json=as_json)


@audit.command()
def erase(
    user: Annotated[str, typer.Option(help="The viewer's id.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept, so it must not name the viewer.")],
    apply: Annotated[bool, typer.Option("--apply", help="Remove what still holds the viewer.")] = False,
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Keep a viewer out of every later snapshot, and show or remove what still holds that viewer."""
    from flows.erase import Eraser
    from flows.views.erase import show_erasure
    from flows.views.printing import show

    show(Eraser.of(name, user).erase(reason, apply=apply), show_erasure, as_json=as_json)


@audit.command()
def hold(release: Release, reason: HoldReason, name: NameOption = None, as_json: Json = False) -> None:
    """Put a release on legal hold: neither `nightreel gc` nor an erasure removes it."""
    from flows.legal_hold import hold
    from flows.live import Live
    from flows.views.printing import show, show_fields

    show(hold(Live.open(name), release, reason=reason), show_fields, as_json=as_json)


@audit.command()
def unhold(release: Release, reason: HoldReason, name: NameOption = None, as_json: Json = False) -> None:
    """Free a release of its legal hold. The record of the hold stays."""
    from flows.legal_hold import lift
    from flows.live import Live
    from flows.views.printing import show, show_fields

    show(lift(Live.open(name), release, reason=reason), show_fields, as_json=as_json)


@audit.command()
def holds(name: NameOption = None, as_json: Json = False) -> None:
    """List every hold and every lifting of one: which release, when, by whom and why."""
    from flows.live import Live
    from flows.views.gc import show_holds
    from flows.views.printing import show

    show([one.model_dump() for one in Live.open(name).holds.all()], show_holds, as_json=as_json)


@audit.command("report")
def report_release(
    release: Release,
    output: Annotated[Path, typer.Option("-o", "--output", help="The page, an HTML file.")] = Path("report.html"),
    name: NameOption = None,
    as_json: Json = False,
) -> None:
    """Write one page about a release that an auditor can file: it loads nothing from anywhere."""
    from flows.live import Live
    from flows.report import write_report
    from flows.views.printing import show, show_fields

    show(write_report(Live.open(name), release, output), show_fields, as_json=as_json)
