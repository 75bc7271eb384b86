"""The automatic rollback: by the ledger's protocol, on evidence, and never to what would have done no better."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import get_run_logger

from flows.live import Live
from flows.outcome import Watched
from flows.steps import release_step
from infra.errors import BadInput
from lineage.ledger import Draft, Entry, LostRace
from lineage.promotion import rollback_target
from lineage.recorded import trained_release
from lineage.windows import get_evidence, put_evidence
from tasks.auto_rollback import Broken, compared, evidence, reason
from tasks.champion import release_ranker
from tasks.delayed_truth import Truth
from tasks.evaluate import evaluate
from tasks.monitor import Incoming, Subject, days_of, laid_out
from tasks.monitor_params import Rollback


@dataclass(frozen=True)
class Watching:
    """What is watched: the ledger's entry and release when it began, all that has landed, and a folder to work in."""

    live: Live
    head: Entry
    subject: Subject
    incoming: Incoming
    work: Path


def judged_until(live: Live, head: Entry) -> date:
    """The last day that an automatic rollback rests on, since the last release of a night; `date.min` without one.

    Days up to it say nothing against what went live since: the release gone back to, or the one that a person brought
    back all the same.
    """
    entry = head
    while entry.evidence is None and entry.action != "release" and entry.seq > 1:
        entry = live.ledger.get(entry.seq - 1)
    if entry.evidence is None:
        return date.min
    return date.fromisoformat(str(get_evidence(live.books.store, entry.evidence)["until"]))


def take_back(told: Watched, found: Broken, rule: Rollback, watching: Watching) -> Watched:
    """Go back to the release before, if that would have been better on the windows that broke the bound.

    Returns:
        `told`, and what became of the rollback. Where it is not carried out, nothing has changed.
    """
    live, head, params = watching.live, watching.head, watching.subject.params
    try:
        target = rollback_target(live.ledger, live.releases, to=None, leaving_out=_unfit(live, head))
    except BadInput as error:
        return _refused(told, found, f"there is nothing to go back to: {error}")
    truths = (laid_out(watching.subject, watching.incoming, watching.work, days_of(one)) for one in found.windows)
    pairs = [
        [_figures(release, truth, watching, found.metric) for release in (target.release, head.release)]
        for truth in truths
    ]
    theirs, mine = zip(*pairs, strict=True)
    gain = compared(theirs, mine, gate=params.gate, seed=params.seed)
    if not gain.mean > 0:
        why = f"on the same windows release {target.release[:12]} is no better ({gain.mean:+.4f} in {found.metric})."
        return _refused(told, found, why)
    means = [float(figures.mean()) for figures in theirs]
    content = evidence(found, rule, live=head.release, target=target.release, means=means, gain=gain)
    return _go_back(told, found, target, reason(found, rule, gain), put_evidence(live.books.store, content), watching)


def _go_back(told: Watched, found: Broken, target: Entry, why: str, digest: str, watching: Watching) -> Watched:
    live = watching.live
    known = target.model_dump(include={"release", "model_version", "commit", "verdict"})
    draft = Draft(action="rollback", by=live.settings.who, reason=why, evidence=digest, **known)
    try:
        entry = release_step(draft, watching.head, live.books, live.registry)
    except LostRace as error:
        return _refused(told, found, f"another release went live meanwhile: {error}")
    get_run_logger().warning("rolled back to release %s: %s", entry.release[:12], why)
    said = (*told.said, f"Rolled back to release {entry.release[:12]}, ledger entry {entry.seq}: {why}.")
    return told.model_copy(update={"status": "rolled back", "said": said, "entry": entry.seq, "evidence": digest})


def _unfit(live: Live, head: Entry) -> set[str]:
    """Releases not gone back to: those rolled back from, and other generations of the model that is live."""
    model = trained_release(head.release, live.books)
    there = {entry.release for entry in live.ledger.entries() if not live.releases.is_retired(entry.release)}
    return {one for one in there if trained_release(one, live.books) == model} | set(live.ledger.withdrawn())


def _figures(release: str, truth: Truth, watching: Watching, metric: str) -> NDArray[np.float64]:
    """`[viewers]` of what the window judges."""
    ranker, _ = release_ranker(release, watching.live.releases, truth.prepared)
    judging = watching.subject.params.evaluate.model_copy(update={"latency_viewers": 1})
    figures: NDArray[np.float64] = evaluate(ranker, truth.prepared, params=judging).viewers[metric].to_numpy()
    return figures


def _refused(told: Watched, found: Broken, why: str) -> Watched:
    said = f"A rollback is due, {found.metric} breaking its bound in {len(found.windows)} windows in a row, and {why}"
    get_run_logger().error(said)
    return told.model_copy(update={"status": "rollback refused", "said": (*told.said, said)})
