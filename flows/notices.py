"""What people are told of a night: its verdict, that it waits for them, and why it stopped."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.outcome import Outcome, Request
from flows.views.verdict_page import figure
from infra.errors import BadInput, Refused
from infra.git import project_root
from infra.notify import Kind, notify
from infra.settings import Settings
from lineage.holding import Busy
from tasks import paths
from tasks.params import load_params
from tasks.stage import read_json

if TYPE_CHECKING:
    from flows.people import Finding

TOLD = ("status", "as_of", "run", "challenger", "primary", "challenger_score", "champion_score", "release", "seq")
MORE = ("model_version", "until", "reasons", "failed_candidates", "override")


def tell_outcome(settings: Settings, outcome: Outcome) -> None:
    """Tell of a verdict, or that one waits for a person. A night that judged nothing is no news."""
    if outcome.status not in ("released", "refused", "waiting"):
        return
    facts = outcome.model_dump(mode="json", include={*TOLD, *MORE})
    score = f"{outcome.challenger}, {outcome.primary} {figure(outcome.challenger_score)}"
    said = f"{outcome.name}, night of {outcome.as_of}: {outcome.status}. {score}"
    if outcome.status == "waiting":
        said += f". Model version {outcome.model_version} waits for approval until {outcome.until}"
    notify(settings, "approval" if outcome.status == "waiting" else "verdict", outcome.name, said, facts)


def tell_findings(settings: Settings, name: str, found: Sequence["Finding"]) -> None:
    """Tell what people asked for in MLflow and what became of it."""
    for finding in found:
        notify(settings, "request", name, f"{name}: {finding.said}", finding.as_row())


@contextmanager
def trouble_told(request: Request) -> Iterator[None]:
    """Tell why the block ended early, and let the error go on. A process that was killed is told of by Prefect."""
    try:
        yield
    except Busy:  # which another run is at: no trouble
        raise
    except Exception as error:
        name = _name(request)
        kind: Kind = "blocked" if isinstance(error, Refused) else "failure"
        said = f"{type(error).__name__}: {error}"
        notify(Settings(), kind, name, f"{name}: {said}", {"error": said, "source": request.source})
        raise


def _name(request: Request) -> str:
    try:
        params = load_params(project_root(Path(request.root)) / "params.yaml", request.overrides)
    except BadInput:  # which may be what there is to tell
        return request.source
    return params.name or request.source


@contextmanager
def drift_told(settings: Settings, name: str, checkout: Path) -> Iterator[None]:
    """Tell how far the newest day strayed when the block is refused for it."""
    try:
        yield
    except Refused:
        metrics = checkout / paths.VALIDATION_METRICS
        checks = read_json(metrics)["checks"] if metrics.exists() else []
        broken = [check for check in checks if check["name"].startswith("drift") and not check["passed"]]
        if broken:
            which = ", ".join(check["name"].removeprefix("drift_") for check in broken)
            facts = {check["name"]: {"observed": check["observed"], "bound": check["bound"]} for check in broken}
            notify(settings, "drift", name, f"{name}: the newest day differs from those before it in {which}", facts)
        raise
