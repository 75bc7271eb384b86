"""One viewer on the screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.printing import show_fields
from lineage.moments import minute

BAR = 30  # characters of a bar for the largest share
LABELS = {
    "level": "more active than, share of viewers",
    "videos_a_day": "videos on an active day",
    "videos": "videos",
    "days": "active days",
    "first": "first",
    "last": "last",
    "sessions": "sessions",
    "median_videos": "videos a session, median",
    "median_minutes": "minutes a session, median",
    "usual_hour_utc": "usual hour (UTC)",
    "mean_weight": "weight of a positive, mean",
    "everybody": "everybody's",
}


def show_profile(console: Console, known: Mapping[str, Any]) -> None:
    """Activity, sessions and feedback as lines, interests as bars, the newest videos as a table."""
    fields = {"viewer": known["user"], "release": known["release"]}
    for part in ("activity", "sessions", "feedback"):
        fields |= {LABELS[name]: value for name, value in known[part].items()}
    show_fields(console, fields)
    for name, interests in known["interests"].items():
        if interests:
            console.print(_bars(name, interests))
    if known.get("newest"):
        table = Table("at (UTC)", "video", "title", title="Newest", title_justify="left")
        for video in known["newest"]:
            table.add_row(minute(video["at"]), escape(str(video["video_id"])), escape(video.get("title") or ""))
        console.print(table)


def _bars(name: str, interests: list[dict[str, Any]]) -> Table:
    table = Table(name, "share", "", title="Interests", title_justify="left")
    most = interests[0]["share"] or 1
    for interest in interests:
        bar = "█" * max(1, round(BAR * interest["share"] / most))
        table.add_row(escape(interest["name"]), f"{interest['share']:.1%}", bar)
    return table
