"""One self-contained page about a release, for an auditor to file."""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from infra.errors import NightreelError
from lineage.attestation import check_attestation
from lineage.books import Books
from lineage.changes import Side, changes
from lineage.ledger import Entry
from lineage.moments import minute, span
from lineage.report_graph import lineage_graph
from lineage.runs import records
from lineage.trace import trace

TEMPLATE = "report.html.j2"


def report(release: str, *, books: Books, repository: Path, at: datetime) -> str:
    """The page about `release` as HTML that loads nothing from anywhere.

    Args:
        release: its id, or the first characters of it.
        books: of the recommender.
        repository: the git checkout that holds the commits of the code.
        at: when the page is made, UTC.

    Raises:
        BadInput: no release or several have such an id.
        Refused: the release is damaged, or the ledger does not hold.
    """
    return render(facts(release, books=books, repository=repository), at=at)


def facts(release: str, *, books: Books, repository: Path) -> dict[str, Any]:
    """Everything that the page tells, as plain values: see `render`'s template for the names."""
    traced = trace(release, ledger=books.ledger, releases=books.releases, store=books.store)
    entries = list(books.ledger.entries())
    now = _side(traced["release"], books)
    before = _before(traced, entries)
    return {
        "trace": traced,
        "graph": lineage_graph(traced, _read(now.record, "index.json"), now.landed),
        "landed": now.landed,
        "signatures": _signatures(now, entries, books),
        "validation": _read(now.record, "validation.json"),
        "trained": _read(now.record, f"train-{now.manifest.candidate}.json"),
        **_evaluation(now),
        "changes": before and changes(_side(before, books), now, repository=repository),
    }


def render(found: dict[str, Any], *, at: datetime) -> str:
    """The page of these facts."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "minute": minute, "span": span}
    template = environment.from_string((files("lineage") / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(found, at=at, lapsed=lambda entry: _lapsed(entry["expires"], at.date()))


def _side(release: str, books: Books) -> Side:
    made_by = [night for night in records(books.store, books.name) if night.release == release]
    landed = made_by[-1].model_dump(mode="json")["landed"] if made_by else []
    record = None if books.releases.is_retired(release) else books.releases.open(release) / "record"
    return Side(release, books.releases.manifest(release), record, landed)


def _before(traced: dict[str, Any], entries: Sequence[Entry]) -> str | None:
    """The other release that was live when this one first went live, or, if it never did, when it was judged."""
    if traced["entries"]:
        earlier = [entry for entry in entries if entry.seq < traced["entries"][0]["seq"]]
    else:
        earlier = [entry for entry in entries if entry.at <= traced["nights"][-1]["at"]]
    return next((entry.release for entry in reversed(earlier) if entry.release != traced["release"]), None)


def _signatures(side: Side, entries: Sequence[Entry], books: Books) -> list[dict[str, Any]]:
    """For the attestation and each ledger entry of the release: by whose key, or why that is not to be trusted."""
    own = [entry for entry in entries if entry.release == side.release]
    checks: dict[str, Callable[[], str]] = {
        "attestation": lambda: check_attestation(books.store, books.trust, side.manifest)[1]
    }
    for entry in own:
        checks[f"ledger entry {entry.seq}"] = partial(books.ledger.check_signature, entry, books.trust)
    return [{"what": what, **_signature(check, books)} for what, check in checks.items()]


def _signature(check: Callable[[], str], books: Books) -> dict[str, Any]:
    try:
        return {"key": books.trust.described(check()), "fault": None}
    except NightreelError as error:
        return {"key": None, "fault": str(error)}


def _evaluation(side: Side) -> dict[str, Any]:
    """The challenger's metrics at the list length of the primary one: by slice, and those of all lists together."""
    judged = _read(side.record, f"evaluate-{side.manifest.candidate}.json")
    if side.record is None or judged is None:
        return {"primary": None, "metrics": [], "slices": [], "together": {}}
    params = yaml.safe_load((side.record / "params.yaml").read_text(encoding="utf-8"))
    primary = str(params["evaluate"]["primary"])
    overall = {name: value for name, value in judged["metrics"].items() if name.endswith(_length(primary))}
    by_slice = sorted(name for name in overall if all(name in figures for figures in judged["slices"].values()))
    rows = [{"slice": "all viewers", "viewers": judged["viewers"], **overall}]
    rows += [{"slice": name, **figures} for name, figures in sorted(judged["slices"].items())]
    return {
        "primary": primary,
        "metrics": sorted(by_slice, key=lambda name: name != primary),
        "slices": rows,
        "together": {name: value for name, value in overall.items() if name not in by_slice},
    }


def _length(metric: str) -> str:
    """`@10` of `ndcg@10`."""
    return "@" + metric.partition("@")[2]


def _read(record: Path | None, name: str) -> Any:
    return None if record is None else json.loads((record / name).read_text(encoding="utf-8"))


def _figure(value: object) -> str:
    """A number for reading: thousands apart, four significant digits of a fraction; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _lapsed(expires: str | None, today: date) -> bool:
    return expires is not None and date.fromisoformat(expires) < today
