"""The lineage of a release as boxes and arrows: a layer for each kind of thing, the sources above, the ledger below."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

WIDTH = 1000
LABELS = 96  # pixels for the layers' names, left of the boxes
BOX_WIDTH, BOX_HEIGHT = 200, 60
GAP, ROW = 14, 100
SHOWN = 4  # boxes of one layer; the older ones share a box of their own
LETTER, TITLE_LETTER = 6.3, 7.7  # pixels of a character, on average
PADDING, TITLE_LINE, LINE = 9, 17, 15

CHALLENGER, AGAINST, OLDER = "challenger", "against", "\0older"
ROWS = {"accepted": "accepted", "quarantine": "in quarantine"}


@dataclass(frozen=True)
class Node:
    """One thing.

    Attributes:
        key: unique in its layer.
        title, lines: what its box says.
        kind: how it looks: `plain`, `dim`, `good`, `bad` or `override`.
        feeds: keys of the next layer that it went into; None: all of them.
    """

    key: str
    title: str
    lines: tuple[str, ...] = ()
    kind: str = "plain"
    feeds: frozenset[str] | None = None


@dataclass(frozen=True)
class Layer:
    """Things of one kind, oldest first."""

    label: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Text:
    """A line of a box: where it begins, on which base line, and whether it is the box's title."""

    x: float
    y: float
    text: str
    title: bool


@dataclass(frozen=True)
class Box:
    """A node in its place: left upper corner and size in pixels, and its lines, cut to fit."""

    node: Node
    x: float
    y: float
    width: float
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Graph:
    """What the page draws: boxes, arrows as SVG paths, and the name of each layer with its height."""

    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    labels: tuple[tuple[str, float], ...]
    width: int = WIDTH
    box_height: int = BOX_HEIGHT


def lineage_graph(
    traced: Mapping[str, Any], index: Mapping[str, Any] | None, landed: Sequence[Mapping[str, Any]]
) -> Graph:
    """The graph of one release.

    Args:
        traced: what `lineage.trace` found.
        index: `record/index.json`; None for a retired release.
        landed: the landed files of a night that made it.
    """
    return layout(
        (
            Layer("Sources", tuple(_sources(landed))),
            Layer("Landed", tuple(_landed(part) for part in landed)),
            Layer("Snapshot", tuple(_snapshot(traced))),
            Layer("Candidates", tuple(_candidates(index, traced["verdict"]))),
            Layer("Challenger", tuple(_sides(traced["verdict"], index))),
            Layer("Verdict", tuple(_verdict(traced["verdict"]))),
            Layer("Release", (_release(traced),)),
            Layer("Ledger", tuple(_entry(entry) for entry in traced["entries"])),
        )
    )


def layout(layers: Sequence[Layer]) -> Graph:
    """Place each layer in a row of its own; layers without a node are left out."""
    rows = [_gathered(layer) for layer in layers if layer.nodes]
    for at, (upper, lower) in enumerate(pairwise(rows)):
        rows[at] = replace(upper, nodes=tuple(_pointing(node, lower) for node in upper.nodes))
    placed = [_placed(layer, at * ROW) for at, layer in enumerate(rows)]
    arrows = [
        _arrow(box, below)
        for row, next_row in pairwise(placed)
        for box in row
        for below in next_row
        if below.node.key in (box.node.feeds or ())
    ]
    labels = tuple((layer.label, at * ROW + BOX_HEIGHT / 2) for at, layer in enumerate(rows))
    height = (len(rows) - 1) * ROW + BOX_HEIGHT + 2
    return Graph(height, tuple(box for row in placed for box in row), tuple(arrows), labels)


def _gathered(layer: Layer) -> Layer:
    """The newest nodes, and one that stands for all older ones."""
    if len(layer.nodes) <= SHOWN + 1:
        return layer
    older, newest = layer.nodes[:-SHOWN], layer.nodes[-SHOWN:]
    feeds = [node.feeds for node in older]
    into = None if None in feeds else frozenset(key for keys in feeds if keys for key in keys)
    oldest = (*older[0].lines, older[0].title)[0]  # of a source its folder, of a landed file its days
    more = Node(OLDER, f"{len(older):,} older", (f"from {oldest}",), "dim", into)
    return replace(layer, nodes=(more, *newest))


def _pointing(node: Node, lower: Layer) -> Node:
    """`node` with the boxes that it points to; what is not shown by itself is among the older ones."""
    there = {below.key for below in lower.nodes}
    if node.feeds is None:
        return replace(node, feeds=frozenset(there))
    return replace(node, feeds=frozenset(key if key in there else OLDER for key in node.feeds))


def _placed(layer: Layer, top: float) -> list[Box]:
    count = len(layer.nodes)
    width = min(BOX_WIDTH, (WIDTH - LABELS - 2 - GAP * (count - 1)) / count)
    left = LABELS + (WIDTH - LABELS - count * width - GAP * (count - 1)) / 2
    return [_box(node, left + at * (width + GAP), top + 1, width) for at, node in enumerate(layer.nodes)]


def _box(node: Node, x: float, y: float, width: float) -> Box:
    """The box of a node, its lines in the middle of its height."""
    above = (BOX_HEIGHT - TITLE_LINE - LINE * len(node.lines)) / 2
    base = y + above + TITLE_LINE - 4
    title = Text(x + PADDING, base, _fitted(node.title, width, TITLE_LETTER), title=True)
    lines = (
        Text(x + PADDING, base + LINE * at, _fitted(line, width, LETTER), title=False)
        for at, line in enumerate(node.lines, start=1)
    )
    return Box(node, x, y, width, (title, *lines))


def _fitted(text: str, width: float, letter: float) -> str:
    """`text`, its beginning left out where it is too long: the end of a path says more."""
    most = int((width - 2 * PADDING) / letter)
    return text if len(text) <= most else "…" + text[len(text) - most + 1 :]


def _arrow(box: Box, below: Box) -> str:
    x, y = box.x + box.width / 2, box.y + BOX_HEIGHT
    to_x, to_y = below.x + below.width / 2, below.y - 5
    middle = (y + to_y) / 2
    return f"M{x:.1f} {y:.1f}C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"


def _sources(landed: Sequence[Mapping[str, Any]]) -> list[Node]:
    into: dict[str, set[str]] = {}
    files: dict[str, Mapping[str, Any]] = {}
    for part in landed:
        for origin in part["origins"]:
            into.setdefault(origin["uri"], set()).add(part["file"])
            files[origin["uri"]] = origin
    return [
        Node(uri, _names(uri)[-1], (_names(uri)[-2], _mark(origin)), feeds=frozenset(into[uri]))
        for uri, origin in files.items()
    ]


def _landed(part: Mapping[str, Any]) -> Node:
    days = part["days"]
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "as a whole"
    rows = _bytes(part["bytes"]) if part["first_rows"] is None else f"{part['first_rows']:,} rows"
    return Node(part["file"], part["table"], (span, f"{rows}, {part['sha256'][:12]}"))


def _snapshot(traced: Mapping[str, Any]) -> list[Node]:
    digests = [night["snapshot"] for night in traced["nights"][:1]]
    files = traced["snapshot"] or {}
    rows = {name: files.get(f"data/{name}/events.parquet", {}).get("rows") for name in ("accepted", "quarantine")}
    lines = tuple(f"{count:,} events {ROWS[name]}" for name, count in rows.items() if count is not None)
    return [Node(digest, digest[:12], lines) for digest in digests]


def _candidates(index: Mapping[str, Any] | None, verdict: Mapping[str, Any] | None) -> list[Node]:
    """Each candidate with its primary metric. The best one is the challenger; popularity may be what it must beat."""
    if index is None or verdict is None:
        return []
    roles = {CHALLENGER: index["challenger"], AGAINST: verdict["against"]}
    return [
        Node(
            name,
            name,
            ("failed" if score is None else f"{score:.4g}",),
            "plain" if name == index["challenger"] else "dim",
            frozenset(role for role, holder in roles.items() if holder == name),
        )
        for name, score in index["candidates"].items()
    ]


def _sides(verdict: Mapping[str, Any] | None, index: Mapping[str, Any] | None) -> list[Node]:
    """The challenger and what it was held against, each with its primary metric."""
    if verdict is None or index is None:
        return []
    primary: Mapping[str, Any] = next((check for check in verdict["checks"] if check["name"] == "primary"), {})
    ours, theirs = (primary.get(side) for side in ("challenger", "champion"))
    against = f"champion {verdict['champion'][:12]}" if verdict["champion"] else verdict["against"]
    return [
        Node(CHALLENGER, str(index["challenger"]), (_with_figure("challenger", ours),)),
        Node(AGAINST, against, (_with_figure("held against", theirs),), "dim"),
    ]


def _with_figure(word: str, value: float | None) -> str:
    return word if value is None else f"{word}, {value:.4g}"


def _verdict(verdict: Mapping[str, Any] | None) -> list[Node]:
    if verdict is None:
        return []
    held = sum(check["passed"] for check in verdict["checks"])
    lines = (f"{held} of {len(verdict['checks'])} checks hold",)
    return [Node("verdict", "passed" if verdict["passed"] else "refused", lines, _tone(good=verdict["passed"]))]


def _release(traced: Mapping[str, Any]) -> Node:
    state = traced["ended"]["word"] if traced["ended"] else "live" if traced["live"] else "not live"
    facts = traced["manifest"]
    lines = (f"{facts['candidate']}, {facts['parts']} files", state)
    kind = "bad" if traced["retired"] else "good" if traced["live"] else "plain"
    return Node(traced["release"], traced["release"][:12], lines, kind)


def _entry(entry: Mapping[str, Any]) -> Node:
    until = f"until {entry['until'][:10]}" if entry["until"] else "live now"
    kind = "override" if entry["action"] == "override" else "plain" if entry["until"] else "good"
    return Node(str(entry["seq"]), f"{entry['seq']}: {entry['action']}", (f"{entry['at'][:10]}, {until}",), kind)


def _tone(*, good: bool) -> str:
    return "good" if good else "bad"


def _names(uri: str) -> list[str]:
    """The names in a path; the last two are the folder, which often is the day, and the file."""
    return ["", *uri.split("/")]


def _bytes(size: int) -> str:
    return f"{size:,} bytes"


def _mark(origin: Mapping[str, Any]) -> str:
    return str(origin["sha256"] or origin["etag"] or "")[:12]
