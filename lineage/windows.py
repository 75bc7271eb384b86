"""What monitoring has measured: one record a window of days, and the evidence that a rollback rests on.

`monitor/NAME/windows/RELEASE/FIRST-LAST-INPUTS.json` and `evidence/SHA256.json`. Figures alone, no ids.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from infra.errors import Refused
from infra.stores import Missing, ObjectStore
from lineage.canonical import Digest, canonical, sha256

MONITOR = "monitor/"
EVIDENCE = "evidence/"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measure(_Frozen):
    """A figure over viewers: mean and standard deviation."""

    mean: float
    sd: float


class Drift(_Frozen):
    """One figure of how far a window strays from the reference, before anything is held against a bound.

    Attributes:
        about: `events`, `videos` or `lists`.
        what: the feature.
        statistic: `psi`, `js`, `share`, `shift`, `loss`; each has a bound of its own in `monitor:` of `params.yaml`.
        observed: the figure.
        noise: what chance alone exceeds in few windows; None where that is not known.
        usual: the largest figure of one day of the reference against its other days; None likewise.
        then, now: the two sides, where the figure is a difference.
    """

    about: str
    what: str
    statistic: str
    observed: float
    noise: float | None = None
    usual: float | None = None
    then: float | None = None
    now: float | None = None


class Window(_Frozen):
    """What one release did on days that it was not trained on.

    Attributes:
        release: the release that was live when this was measured.
        first, last: the days, ISO 8601; several where one had too few viewers.
        inputs: SHA-256 of what it was measured from: every landed day up to `last` by content, and parameters.
        events, quarantined: rows of these days, fit and faulty.
        viewers: who were judged: known to the release, with a history, and with something new.
        unknown_viewers: share of the viewers with a positive whom the release has never met.
        unknown_videos: share of the positives whose video it cannot recommend.
        primary: the metric that releases are judged by.
        live: of the release, each metric of a viewer.
        popularity: of what was most popular before the window, for the same viewers.
        gain: of the release over popularity in `primary`, viewer by viewer.
        drift: from what the release was trained on.
        at: when it was measured, UTC, ISO 8601.
    """

    release: Digest
    first: str
    last: str
    inputs: Digest
    events: int
    quarantined: int
    viewers: int
    unknown_viewers: float
    unknown_videos: float
    primary: str
    live: Mapping[str, Measure]
    popularity: Mapping[str, Measure]
    gain: Measure
    drift: tuple[Drift, ...]
    at: str


def put_window(store: ObjectStore, name: str, window: Window) -> None:
    """Store the record; one of the same release, days and inputs stays as it is."""
    key = _key(name, window.release, window.first, window.last, window.inputs)
    store.put_if_absent(key, canonical(window.model_dump(mode="json")))


def get_window(store: ObjectStore, name: str, release: str, first: str, last: str, inputs: str) -> Window | None:
    """The record of these days, None where they have not been measured. Raises `Refused` when it cannot be read."""
    key = _key(name, release, first, last, inputs)
    try:
        return _parsed(key, store.get(key))
    except Missing:
        return None


def windows(store: ObjectStore, name: str) -> list[Window]:
    """Every window of the recommender, oldest first; of those with the same last day the one measured last."""
    newest: dict[str, Window] = {}
    for key in store.keys(f"{MONITOR}{name}/windows/"):
        window = _parsed(key, store.get(key))
        if window.last not in newest or newest[window.last].at < window.at:
            newest[window.last] = window
    return [newest[last] for last in sorted(newest)]


def put_reference(store: ObjectStore, name: str, snapshot: str, days: int, profile: Mapping[str, JsonValue]) -> None:
    """Keep the profile of the data that a release was trained on.

    Args:
        store: where.
        name: the recommender.
        snapshot: SHA-256 of the snapshot's manifest.
        days: how many of its days told what is usual.
        profile: JSON types.
    """
    store.put_if_absent(_reference(name, snapshot, days), canonical(profile))


def get_reference(store: ObjectStore, name: str, snapshot: str, days: int) -> dict[str, Any] | None:
    """What `put_reference` kept, None where nothing was."""
    key = _reference(name, snapshot, days)
    try:
        return TypeAdapter(dict[str, Any]).validate_json(store.get(key))
    except Missing:
        return None
    except ValidationError:
        raise Refused(f"The profile {key} cannot be read: it is no JSON object.") from None


def put_evidence(store: ObjectStore, content: Mapping[str, Any]) -> str:
    """Store what a rollback rests on; its SHA-256, which the ledger's entry names."""
    data = canonical(content)
    store.put_if_absent(evidence_key(sha256(data)), data)
    return sha256(data)


def get_evidence(store: ObjectStore, digest: str) -> dict[str, Any]:
    """The evidence with this SHA-256. Raises `Refused` when it is missing or has another digest."""
    try:
        data = store.get(evidence_key(digest))
    except Missing:
        raise Refused(f"The evidence {digest[:12]} that the ledger names is missing in the store.") from None
    if sha256(data) != digest:
        raise Refused(f"The evidence {digest[:12]} was changed in the store: its digest differs.")
    return TypeAdapter(dict[str, Any]).validate_json(data)


def evidence_key(digest: str) -> str:
    """Where the evidence with this SHA-256 is stored."""
    return f"{EVIDENCE}{digest}.json"


def _reference(name: str, snapshot: str, days: int) -> str:
    return f"{MONITOR}{name}/references/{snapshot}-{days}.json"


def _key(name: str, release: str, first: str, last: str, inputs: str) -> str:
    return f"{MONITOR}{name}/windows/{release}/{first}-{last}-{inputs[:16]}.json"


def _parsed(key: str, data: bytes) -> Window:
    try:
        return Window.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the whole"
        raise Refused(f"The window {key} cannot be read: {where}: {fault['msg']}.") from None
