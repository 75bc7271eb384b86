"""The automatic rollback: by the ledger's protocol, on evidence, and never to what would have done no better."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger

from flows.live import Live
from flows.outcome import Watched
from flows.steps import release_step
from infra.errors import NightreelError
from lineage.ledger import Draft, Entry, LostRace
from lineage.promotion import rollback_target
from lineage.recorded import trained_release
from lineage.windows import put_evidence
from tasks.auto_rollback import Broken, compared, evidence, reason
from tasks.champion import release_ranker
from tasks.delayed_truth import Truth
from tasks.evaluate import evaluate
from tasks.monitor import Incoming, Subject, days_of, laid_out
from tasks.params import Params


def take_back(
    told: Watched,
    live: Live,
    head: Entry,
    found: Broken,
    subject: Subject,
    incoming: Incoming,
    params: Params,
    work: Path,
) -> Watched:
    """Go back to the release before, if that would have been better on the windows that broke the bound.

    Returns:
        `told`, and what became of the rollback. Where it is not carried out, nothing has changed.
    """
    rule = params.monitor.rollback
    if rule is None:
        return told
    try:
        target = rollback_target(live.ledger, live.releases, to=None, leaving_out=_unfit(live, head))
    except NightreelError as error:
        return _refused(told, found, f"there is no release to go back to: {error}")
    mine: list[NDArray[np.float64]] = []
    theirs: list[NDArray[np.float64]] = []
    for window in found.windows:
        truth = laid_out(subject, incoming, work, days_of(window))
        mine.append(_figures(head.release, live, truth, subject.params, found.metric))
        theirs.append(_figures(target.release, live, truth, subject.params, found.metric))
    gain = compared(theirs, mine, gate=subject.params.gate, seed=subject.params.seed)
    if not gain.mean > 0:
        why = f"on the same windows release {target.release[:12]} is no better ({gain.mean:+.4f} in {found.metric})"
        return _refused(told, found, why)
    means = [float(figures.mean()) for figures in theirs]
    content = evidence(found, rule, live=head.release, target=target.release, means=means, gain=gain)
    digest = put_evidence(live.books.store, content)
    known = target.model_dump(include={"release", "model_version", "commit", "verdict"})
    why = reason(found, rule, gain)
    draft = Draft(action="rollback", by=live.settings.who, reason=why, evidence=digest, **known)
    try:
        entry = release_step(draft, head, live.books, live.registry)
    except LostRace as error:
        return _refused(told, found, f"another release went live meanwhile: {error}")
    get_run_logger().warning("rolled back to release %s: %s", entry.release[:12], why)
    said = (*told.said, f"Rolled back to release {entry.release[:12]}, ledger entry {entry.seq}: {why}.")
    return told.model_copy(update={"status": "rolled back", "said": said, "entry": entry.seq, "evidence": digest})


def _unfit(live: Live, head: Entry) -> set[str]:
    """Releases not gone back to: those rolled back from, and other generations of the model that is live."""
    model = trained_release(head.release, live.books)
    entries = list(live.ledger.entries())
    same = {entry.release for entry in entries if _model_of(entry.release, live) == model}
    return same | set(live.ledger.withdrawn())


def _model_of(release: str, live: Live) -> str | None:
    return None if live.releases.is_retired(release) else trained_release(release, live.books)


def _figures(release: str, live: Live, truth: Truth, params: Params, metric: str) -> NDArray[np.float64]:
    """`[viewers]` of what the window judges."""
    ranker, _ = release_ranker(release, live.releases, truth.prepared)
    judging = params.evaluate.model_copy(update={"latency_viewers": 1})
    figures: NDArray[np.float64] = evaluate(ranker, truth.prepared, params=judging).viewers[metric].to_numpy()
    return figures


def _refused(told: Watched, found: Broken, why: str) -> Watched:
    said = (
        f"A rollback is due, {found.metric} being below its bound in {len(found.windows)} windows in a row, and {why}."
    )
    get_run_logger().error(said)
    return told.model_copy(update={"status": "rollback refused", "said": (*told.said, said)})
