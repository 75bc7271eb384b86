"""Trace and impact are inverse: over random histories of nights, promotions, rollbacks, overrides and erasures."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.impact import KINDS, Query, impact
from lineage.trace import trace
from tests.lineage.history import NAME, History, Night, landed, uri

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
USERS, VIDEOS = range(4), range(10, 13)
NUMPY = ("2.4.0", "2.4.1")

nights = st.builds(
    Night,
    days=st.dictionaries(st.sampled_from(DAYS), st.sampled_from((1, 2)), min_size=1).map(
        lambda days: tuple(sorted(days.items()))
    ),
    users=st.sets(st.sampled_from(USERS)).map(lambda ids: tuple(sorted(ids))),
    videos=st.sets(st.sampled_from(VIDEOS)).map(lambda ids: tuple(sorted(ids))),
    code=st.sampled_from((0, 1)),
    numpy=st.sampled_from(NUMPY),
    passed=st.booleans(),
)
# a number chooses among what is there when the step comes
steps = st.one_of(
    nights.map(lambda night: ("night", night)),
    st.tuples(st.sampled_from(("again", "promote", "rollback", "override", "erase")), st.integers(0, 9)),
)


def live_through(history: History, happened: list[tuple[str, Any]]) -> None:
    """Do each step, or leave out one that cannot be done here."""
    for what, which in happened:
        usable = [release for release in history.made if release not in history.retired | set(history.live[-1:])]
        if what == "night":
            history.night(which)
        elif what == "again" and history.runs:
            release = history.runs[which % len(history.runs)].release
            if release not in history.retired:
                history.night(history.made[release][0])
        elif what in ("promote", "rollback", "override") and usable:
            history.enter(what, usable[which % len(usable)])
        elif what == "erase":
            user = which % len(USERS)
            if all(user not in night.users for live in history.live[-1:] for night in history.made[live]):
                history.erase(user)


def things(history: History) -> dict[Query, set[str]]:
    """Everything that can be asked about, with the releases that it went into, from what the history remembers."""
    made = [(release, night) for release, all_of_it in history.made.items() for night in all_of_it]
    kept = [(release, night) for release, night in made if release not in history.retired]
    found: dict[Query, set[str]] = {}
    for day in DAYS:
        found[Query.of("day", day)] = {r for r, night in made if day in dict(night.days)}
        found[Query.of("file", uri(day))] = {r for r, night in made if day in dict(night.days)}
        for version in (1, 2):
            part = landed(day, version)
            (origin,) = part.origins
            for name in (part.file, part.sha256, origin.sha256, str(origin.etag), f'"{origin.etag}"'):
                found[Query.of("file", name)] = {r for r, night in made if (day, version) in night.days}
    found |= {Query.of("user", str(user)): {r for r, night in kept if user in night.users} for user in USERS}
    found |= {Query.of("video", str(video)): {r for r, night in kept if video in night.videos} for video in VIDEOS}
    found |= {Query.of("package", f"numpy=={v}"): {r for r, night in made if night.numpy == v} for v in NUMPY}
    for _, night in made:
        releases = {r for r, other in made if other.code == night.code}
        found |= {Query.of("commit", night.code_commit[:length]): releases for length in (7, 40)}
    found |= {Query.of("commit", run.commit.upper()): {run.release} for run in history.runs}
    return found


def is_in(traced: dict[str, Any], query: Query, history: History) -> bool:
    """Whether the thing stands in what `trace` lists, found by eye rather than by `Query.matches`."""
    for night in traced["nights"]:
        origins = [origin for part in night["landed"] for origin in part["origins"]]
        index = history.root / "store/snapshots" / NAME / night["snapshot"]
        listed = {
            "file": [part[key] for part in night["landed"] for key in ("file", "sha256")]
            + [origin[key] for origin in origins for key in ("uri", "sha256", "etag")],
            "day": [day for part in night["landed"] for day in part["days"]],
            "commit": [commit[: len(query.value)] for commit in (night["code"], night["commit"])],
            "package": [f"{name.lower()}=={version}" for name, version in night["packages"].items()],
        }
        if query.kind in listed:
            if query.value in listed[query.kind]:
                return True
        elif night["indexed"]:
            ids = pl.read_parquet(index / f"{query.kind}s.parquet")["id"]
            if query.value in ids.cast(pl.String).to_list():
                return True
    return False


@given(happened=st.lists(steps, min_size=1, max_size=8))
def test_a_release_is_in_the_impact_of_just_what_its_trace_lists(
    tmp_path_factory: pytest.TempPathFactory, happened: list[tuple[str, Any]]
) -> None:
    history = History(tmp_path_factory.mktemp("history"))
    live_through(history, happened)
    books = {"ledger": history.ledger, "store": history.store}
    traces = {release: trace(release, releases=history.releases, **books) for release in history.made}
    for query, expected in things(history).items():
        found = {release["release"]: release for release in impact(query, **books)["releases"]}
        assert set(found) == expected, query
        assert {release for release, traced in traces.items() if is_in(traced, query, history)} == expected, query
        for release, reached in found.items():
            assert reached["intervals"] == traces[release]["entries"]
            assert (reached["live"], reached["retired"]) == (release in history.live[-1:], release in history.retired)
    for release, traced in traces.items():
        entered = [at for at, live in enumerate(history.live, start=1) if live == release]
        ended = [at + 1 if at < len(history.live) else None for at in entered]
        assert [(entry["seq"], entry["until_seq"]) for entry in traced["entries"]] == list(
            zip(entered, ended, strict=True)
        )
        assert len(traced["nights"]) == len(history.made[release])
    assert {query.kind for query in things(history)} == set(KINDS) or not history.runs
