"""What people asked for in MLflow, answered by the clock or when MLflow hints at it; and by hand."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.live import Live
from flows.notices import tell_findings
from flows.people import Finding, answer_people
from flows.restoring import restore_live
from infra.disk import room_on


@flow(name="reconcile", flow_run_name="reconcile", persist_result=False)
def reconcile(root: str, name: str | None = None) -> list[Finding]:
    """One pass over the recommender `name` of the checkout `root`, or over each there is; what was found and done.

    Raises:
        Unreachable: a service does not answer; what is open stays so until the next pass.
        Refused: the ledger or a request for approval is not as it was signed.
    """
    lives = [Live.open(name, Path(root))] if name else Live.every(Path(root))
    return [finding for live in lives for finding in _reconciled(live)]


def _reconciled(live: Live) -> list[Finding]:
    with room_on(live.settings.home_dir):
        found = [*restore_live(live), *answer_people(live)]
    for finding in found:
        get_run_logger().warning("%s: %s", finding.what, finding.said)
    tell_findings(live.settings, live.name, found)
    if found:
        create_markdown_artifact(markdown(found), key="reconciled", description=live.name)
    return found


def markdown(found: list[Finding]) -> str:
    """A table with one row a finding."""
    rows = [f"| {each.what} | {each.version} | {each.said} |" for each in found]
    return "\n".join(["| what | model version | |", "|---|---|---|", *rows])
