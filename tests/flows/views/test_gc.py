"""What retention shows on a screen of 100 columns."""

from typing import Any

import pytest

from flows.views.gc import show_collection, show_holds
from tests.flows.views.terminal import seen

LONG = "DVC remote s3://a-bucket-with-a-name-of-some-length/and/a/prefix/that/goes/on/and/on/for/a/while"
TOLD: dict[str, Any] = {
    "name": "reel",
    "keep": 1,
    "applied": False,
    "gone": [
        {"place": "release store", "what": "release parts", "count": 1200, "bytes": 3_500_000},
        {"place": LONG, "what": "objects", "count": 7, "bytes": 500_000},
    ],
    "releases": ["33" * 32, "44" * 32],
    "kept": [
        {"release": "11" * 32, "why": "live", "as_of": "2026-11-22", "bytes": 1_500_000},
        {"release": "22" * 32, "why": "hold", "as_of": "2026-11-02", "bytes": 1_000},
        {"release": "55" * 32, "why": "needed by 111111111111", "as_of": "2026-11-01", "bytes": 10},
    ],
    "at_work": ["2026-11-23-a3e489113e85"],
}


def test_what_is_kept_and_why_and_what_would_go() -> None:
    text = seen(show_collection, TOLD)
    for line in (
        "│ 111111111111 │ 2026-11-22 │ is live                   │ 1.5 MB   │",
        "│ 222222222222 │ 2026-11-02 │ is on legal hold          │ 1.0 kB   │",
        "│ 555555555555 │ 2026-11-01 │ is needed by 111111111111 │ 10 bytes │",
        "The night 2026-11-23-a3e489113e85 is at work, and all that it has made is kept.",
        "Would go",
        "│ 1,200 │   3.5 MB │",
        "│       │   4.0 MB │",
        "Releases that would go: 333333333333, 444444444444",
        "Nothing has been removed. To remove it:\n  nightreel gc --keep 1 --name reel --apply",
    ):
        assert line in text


def test_what_is_gone_is_said_so() -> None:
    text = seen(show_collection, TOLD | {"applied": True, "at_work": []})
    assert "Gone" in text
    assert text.endswith("Releases that are gone: 333333333333, 444444444444")


@pytest.mark.parametrize("applied", [True, False])
def test_nothing_to_remove_is_said_so(applied: bool) -> None:
    text = seen(show_collection, TOLD | {"gone": [], "releases": [], "at_work": [], "applied": applied})
    assert text.endswith("\nNothing else is there.")


def test_every_hold_is_a_row() -> None:
    hold = {"seq": 1, "action": "hold", "release": "22" * 32, "by": "ada", "at": "2026-11-22T09:49:00.000000Z"}
    text = seen(show_holds, [hold | {"reason": "case [12]"}])
    assert "│ 1    │ hold   │ 222222222222 │ 2026-11-22 09:49 │ ada │ case [12] │" in text
