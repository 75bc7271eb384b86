"""What is written of videos: the text of each field, and the fields' vectors as one."""

import unicodedata
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.schema import Videos

WRITTEN = (Videos.TITLE, Videos.DESCRIPTION, Videos.TAGS, Videos.COVER_TEXT)


def written(catalogue: pl.DataFrame, field: str) -> list[str]:
    """`[videos]` the text of one column, `""` where there is none; tags joined by commas."""
    if field not in catalogue.columns:
        return [""] * catalogue.height
    values = catalogue[field]
    if isinstance(values.dtype, pl.List):
        values = values.list.join(", ")
    return [normalised(text or "") for text in values.cast(pl.String)]


def normalised(text: str) -> str:
    """In Unicode's composed form, runs of white space as one blank: equal texts get equal digests."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fused(fields: Mapping[str, NDArray[np.float32]], weights: Mapping[str, float]) -> NDArray[np.float32]:
    """`[videos, dim]`: the weighted mean of the fields that a video has, as a unit vector; NaN where it has none.

    Args:
        fields: by field `[videos, dim]` unit vectors, NaN rows where a video lacks it.
        weights: by field, positive.
    """
    total = sum(np.float32(weights[name]) * np.nan_to_num(table) for name, table in fields.items())
    mean = np.asarray(total, np.float32)
    lengths = np.linalg.norm(mean, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, mean / lengths, np.float32(np.nan)).astype(np.float32)
