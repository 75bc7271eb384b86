"""What a person sees of an erasure: the record, what still holds the viewer, and how to remove it."""

from typing import Any

from flows.views.erase import show_erasure
from tests.flows.views.terminal import seen

APPLY = "nightreel audit erase --user 7 --reason TEXT --apply"
TOLD: dict[str, Any] = {
    "erasure": {
        "name": "reel",
        "seq": 3,
        "subject": "ab" * 32,
        "key_id": "cd" * 8,
        "by": "ada",
        "at": "2026-11-22T09:49:00.000000Z",
        "reason": "ticket [12]",
    },
    "applied": False,
    "live": "11" * 32,
    "held": [{"release": "22" * 32, "by": "ada", "reason": "case 12"}],
    "holdings": [
        {"kind": "release", "what": "11" * 32, "where": "live", "remove": APPLY},
        {"kind": "release", "what": "22" * 32, "where": "not live", "remove": APPLY},
        {"kind": "landed file", "what": "a.parquet", "where": "/home/a.parquet", "remove": APPLY},
        *(
            {"kind": "DVC object", "what": f"data/raw/{n}", "where": f"cache: {n}", "remove": APPLY}
            for n in range(1_200)
        ),
    ],
    "sources": ["s3://logs/events/2016-10-14/part-0.csv"],
    "shared": {"other": 2},
}


def test_what_holds_the_viewer_is_named_and_much_of_it_counted() -> None:
    text = seen(show_erasure, TOLD)
    for line in (
        "erasure   3 of reel",
        f"viewer    HMAC-SHA256 {'ab' * 32}, key",
        "recorded  2026-11-22 09:49 UTC by ada",
        "reason    ticket [12]",
        "release (2)\n  111111111111, live\n  222222222222, not live",
        "landed file (1)\n  /home/a.parquet",
        "DVC object (1,200)\n  cache: data/raw (1,200)",
        f"All of this still holds the viewer. To remove it:\n  {APPLY}",
        "222222222222 is on legal hold by ada: case 12. It has to be freed before.",
        "2 DVC objects stay, because nights of other need them: erase there as well.",
        "is its owner's to change:\n  s3://logs/events/2016-10-14/part-0.csv",
    ):
        assert line in text


def test_nothing_left_is_said_so() -> None:
    text = seen(
        show_erasure, TOLD | {"holdings": [], "sources": [], "shared": {}, "live": None, "held": [], "applied": True}
    )
    assert text.endswith("\n\nNothing here holds the viewer.")
    assert "To remove it" not in text
