"""Commands for arrays that somebody brings: `nightreel encode` and `nightreel rank`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options import Json

if TYPE_CHECKING:
    from rich.console import Console


def encode(
    frames: Annotated[Path, typer.Option(help="Frames [n, 224, 224, 3], RGB in 0..255.", metavar="FILE.npy")],
    model: Annotated[
        str, typer.Option(help="efficientnet-lite0, a .keras or .h5 file, or a keras-hub folder.", metavar="NAME|PATH")
    ] = "efficientnet-lite0",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the features go; by default beside the frames, as X.features.npy.", metavar="FILE.npy"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn frames into features, with a pretrained model or your own."""
    from flows.views.printing import show, show_fields
    from tasks.arrays import encode_frames

    facts = encode_frames(frames, model=model, out=out or frames.with_suffix(".features.npy"))
    show(facts, show_fields, as_json=as_json)


def rank(
    history: Annotated[Path, typer.Option(help="Features [h, dim] of what was watched.", metavar="FILE.npy")],
    features: Annotated[Path, typer.Option(help="Features [n, dim] to rank.", metavar="FILE.npy")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many rows.")] = 10,
    as_json: Json = False,
) -> None:
    """Rank features by their cosine to a history."""
    from flows.views.printing import show
    from tasks.arrays import rank_features

    rows = rank_features(history, features, k=k)
    show({"features": str(features), "ranked": rows}, show_ranked, as_json=as_json)


def show_ranked(console: "Console", answer: Mapping[str, Any]) -> None:
    """The rows, best first."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("#", "row", "cosine", title=f"nearest in {escape(answer['features'])}")
    for column in table.columns:
        column.justify = "right"
    for place in answer["ranked"]:
        table.add_row(str(place["rank"]), f"{place['row']:,}", f"{place['cosine']:.4f}")
    console.print(table)
