"""What a viewer is shown, on a terminal."""

from flows.views.recommended import show_recommended
from tests.flows.views.terminal import RELEASE, rows, seen


def test_recommendations_keep_their_titles_on_one_line() -> None:
    videos = [
        {"video_id": 1617, "title": "L.A. Confidential (1997)", "score": 0.034812},
        {"video_id": 2, "title": None, "score": 12.0},
        {"video_id": "v[b]3", "title": "[rec] 今天的晚饭\nsecond line [/]", "score": 0.0},
        {"video_id": 4, "title": "é" * 10_000, "score": 1e-6},
    ]
    answer = {"user": "1", "release": RELEASE, "seq": 7, "reason": "history", "videos": videos, "signature": "f00"}
    printed = seen(show_recommended, answer)
    assert "Viewer 1, release 3118b1999708" in printed
    assert "popular" not in printed
    assert "signed by f00" in printed
    assert rows(printed)[:3] == [
        ["1", "1617", "L.A. Confidential (1997)", "0.03481"],
        ["2", "2", "", "12"],
        ["3", "v[b]3", "[rec] 今天的晚饭 second line [/]", "0"],
    ]
    assert len(rows(printed)) == 4
    assert rows(printed)[3][2].endswith("é…")
    assert rows(printed)[3][3] == "1e-06"


def test_why_stands_beside_each_recommendation() -> None:
    because = [{"video_id": 5, "title": "Heat (1995)", "score": 0.5, "exact": True}]
    because += [{"video_id": "six", "title": None, "score": 0.25, "exact": True}]
    videos = [{"video_id": 1, "title": "Ronin (1998)", "score": 0.75, "because": because}]
    videos += [{"video_id": 2, "title": "Babe (1995)", "score": 0.0, "because": []}]
    answer = {"user": "1", "release": RELEASE, "seq": 7, "reason": "history", "videos": videos, "signature": "f00"}
    assert rows(seen(show_recommended, answer)) == [
        ["1", "1", "Ronin (1998)", "0.75", "Heat (1995)"],
        ["", "", "", "", "six"],
        ["2", "2", "Babe (1995)", "0", ""],
    ]


def test_an_unknown_viewer_is_told_so() -> None:
    answer = {"user": "[x]", "release": RELEASE, "seq": 7, "reason": "popular", "videos": [], "signature": "f00"}
    assert seen(show_recommended, answer).startswith("Viewer [x] is unknown to the live release: the popular list.\n")
