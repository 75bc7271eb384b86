"""One video on the screen."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.views.printing import show_fields


def show_video(console: Console, known: Mapping[str, Any]) -> None:
    """Catalogue row, tags, summary, key frames, on-screen text."""
    notes = known["notes"]
    if notes and notes["title"]:
        console.print(f"\n[bold]{escape(notes['title'])}[/]")
    show_fields(console, {name: _plain(value) for name, value in known["video"].items()})
    if known["tags"]:
        console.print(_scored(known["tags"]))
    if notes is None:
        console.print("[dim]No video file was looked at.[/]")
        return
    for sentence in notes["sentences"]:
        console.print(f"  {_clock(sentence['start'])}  {escape(sentence['text'])}")
    frames = Table("at", "key frame", title="Key frames", title_justify="left")
    for frame in notes["key_frames"]:
        frames.add_row(_clock(frame["seconds"]), frame["thumbnail"], style=f"link file://{frame['thumbnail']}")
    console.print(frames)
    for line in notes["on_screen"]:
        console.print(f"  {_clock(line['seconds'])}  on screen: {escape(line['text'])}")


def _scored(tags: list[dict[str, Any]]) -> Table:
    table = Table("tag", "score", "how", title="Tags", title_justify="left")
    for tag in tags:
        table.add_row(escape(tag["tag"]), f"{tag['score']:.2f}", tag["how"])
    return table


def _plain(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
