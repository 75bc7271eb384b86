"""Options that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
NameOption = Annotated[str | None, typer.Option(help="Recommender; by default the only one.")]
