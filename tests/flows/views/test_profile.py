from flows.views.profile import show_profile
from tests.flows.views.terminal import seen

KNOWN = {
    "user": "[u]1",
    "release": "3118b1999708",
    "interests": {
        "category": [],
        "tags": [
            {"name": "[Sci-Fi]", "share": 0.75},
            {"name": "Drama", "share": 0.25},
            {"name": "War", "share": 0.001},
        ],
    },
    "activity": {"level": 0.9, "videos_a_day": 3.5},
    "sessions": {"sessions": 4, "median_videos": 2.0, "median_minutes": 12.5, "usual_hour_utc": 21},
    "feedback": {"mean_weight": 1.25, "everybody": 1.0},
}
NEWEST = [{"video_id": 7, "title": "Heat [cut]", "at": "2024-10-04T12:00:00Z"}]


def test_interests_are_bars_and_nothing_is_markup():
    printed = seen(show_profile, KNOWN | {"newest": NEWEST})
    fields = dict(line.split("  ", 1) for line in printed.splitlines() if "  " in line and "│" not in line)
    assert fields["viewer"].strip() == "[u]1"
    assert fields["usual hour (UTC)"].strip() == "21"
    assert fields["everybody's"].strip() == "1"
    lines = {line.split("│")[1].strip(): line for line in printed.splitlines() if line.count("│") == 4}
    assert [lines[name].count("█") for name in ("[Sci-Fi]", "Drama", "War")] == [30, 10, 1]
    assert "75.0%" in lines["[Sci-Fi]"]
    assert "2024-10-04 12:00 │ 7     │ Heat [cut]" in printed


def test_a_private_profile_names_nobody():
    printed = seen(show_profile, KNOWN | {"user": None})
    assert not any(line.startswith("viewer  ") for line in printed.splitlines())
    assert "Newest" not in printed
