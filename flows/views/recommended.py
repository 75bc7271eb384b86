"""What a viewer is shown."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from flows.views.printing import cell, table_of

BESIDE_TITLE = 40  # characters of a line of recommendations that are not title


def show_recommended(console: Console, answer: Mapping[str, Any]) -> None:
    """The list, best first, each title on one line."""
    user = escape(answer["user"])
    if answer["reason"] == "popular":
        console.print(f"[yellow]Viewer {user} is unknown to the live release: the popular list.[/]")
    explained = any("because" in video for video in answer["videos"])
    columns = ("#", "video", "title", "score", *(["because of"] if explained else []))
    table = table_of(*columns, wrapped=("video",))
    table.title = f"Viewer {user}, release {answer['release'][:12]}"
    room = max((console.width - BESIDE_TITLE) // (2 if explained else 1), 20)
    for rank, video in enumerate(answer["videos"], start=1):
        cells: list[Text | str] = [_on_one_line(video.get("title") or "", room), cell(video["score"])]
        if explained:
            titles = (each.get("title") or str(each["video_id"]) for each in video["because"])
            cells.append(Text("\n").join(_on_one_line(title, room) for title in titles))
        table.add_row(str(rank), cell(video["video_id"]), *cells, end_section=explained)
    table.caption = f"signed by {escape(answer['signature'])}"
    console.print(table)


def _on_one_line(title: str, room: int) -> Text:
    text = Text(" ".join(title.split()))
    text.truncate(room, overflow="ellipsis")
    return text
